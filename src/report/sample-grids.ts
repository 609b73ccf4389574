import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'

/** A grid of samples that a run drew while it trained. */
export interface SampleGrid {
  readonly step: number
  /** The file as it is. */
  readonly png: Uint8Array
  readonly width: number
  readonly height: number
}

/** The grids to show, and how many the run's folder holds. */
export interface SampleGrids {
  readonly shown: readonly SampleGrid[]
  readonly available: number
}

const PNG_SIGNATURE = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a])

/**
 * Reads the grids `<STEP>.png` of a `samples` folder: at most `limit`, spread evenly over the run, first and last included.
 * No folder is no grids.
 *
 * @throws Error naming a file that is no PNG.
 */
export async function readSampleGrids(directory: string, limit: number): Promise<SampleGrids> {
  const steps = (await listSteps(directory)).sort((a, b) => a.step - b.step)
  const shown: SampleGrid[] = []
  for (const { step, name } of spreadEvenly(steps, limit)) {
    const file = join(directory, name)
    const png = await readFile(file)
    shown.push({ step, png, ...pngSize(png, file) })
  }
  return { shown, available: steps.length }
}

async function listSteps(directory: string): Promise<{ step: number; name: string }[]> {
  let names: string[]
  try {
    names = await readdir(directory)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
    throw error
  }
  return names.filter((name) => /^\d{7,}\.png$/.test(name)).map((name) => ({ step: Number.parseInt(name, 10), name }))
}

/** At most `limit` of the items, evenly spread, with both ends. */
export function spreadEvenly<T>(items: readonly T[], limit: number): T[] {
  if (items.length <= limit) return [...items]
  if (limit <= 1) return items.slice(items.length - limit)
  return Array.from({ length: limit }, (_, i) => items[Math.round((i * (items.length - 1)) / (limit - 1))]!)
}

/** Width and height from the header chunk, which PNG (ISO/IEC 15948, 11.2.2) puts right behind the signature. */
function pngSize(png: Buffer, file: string): { width: number; height: number } {
  const isPng =
    png.length >= 24 && png.subarray(0, 8).equals(PNG_SIGNATURE) && png.toString('latin1', 12, 16) === 'IHDR'
  if (!isPng) throw new Error(`${file}: expected a PNG image; remove the file or draw the samples again.`)
  return { width: png.readUInt32BE(16), height: png.readUInt32BE(20) }
}
