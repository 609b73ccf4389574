import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { ifThere } from '../formats/if-there.ts'
import { readPngHeader } from '../formats/png-header.ts'
import { gridName } from '../training/run-layout.ts'

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

/**
 * Reads the grids `<STEP>.png` of a `samples` folder.
 *
 * @throws Error naming a file that is no PNG.
 */
export async function readSampleGrids(directory: string, steps: readonly number[]): Promise<SampleGrid[]> {
  const grids: SampleGrid[] = []
  for (const step of steps) {
    const file = join(directory, gridName(step))
    const png = await readFile(file)
    grids.push({ step, png, ...pngSize(png, file) })
  }
  return grids
}

/** The steps of which a `samples` folder holds grids, in order; of no folder none. */
export async function listSampleSteps(directory: string): Promise<number[]> {
  const names = (await ifThere(readdir(directory))) ?? []
  const steps = names.filter((name) => /^\d{7,}\.png$/.test(name)).map((name) => Number.parseInt(name, 10))
  return steps.filter((step) => names.includes(gridName(step))).sort((a, b) => a - b)
}

/**
 * At most `limit` steps to show of runs that are compared, spread evenly: those that all runs with grids have, where there
 * are two at least, else of all; the very last in any case.
 */
export function chooseSteps(available: readonly (readonly number[])[], limit: number): Set<number> {
  const held = available.filter((steps) => steps.length > 0)
  const all = [...new Set(held.flat())].sort((a, b) => a - b)
  const common = all.filter((step) => held.every((steps) => steps.includes(step)))
  if (common.length < 2 || common.length === all.length) return new Set(spreadEvenly(all, limit))
  const last = all.at(-1)!
  if (common.at(-1) === last) return new Set(spreadEvenly(common, limit))
  return new Set([...spreadEvenly(common, Math.max(0, limit - 1)), ...(limit > 0 ? [last] : [])])
}

/** At most `limit` of the items, evenly spread, with both ends. */
function spreadEvenly<T>(items: readonly T[], limit: number): T[] {
  if (items.length <= limit) return [...items]
  if (limit <= 1) return items.slice(items.length - limit)
  return Array.from({ length: limit }, (_, i) => items[Math.round((i * (items.length - 1)) / (limit - 1))]!)
}

function pngSize(png: Uint8Array, file: string): { width: number; height: number } {
  try {
    const { width, height } = readPngHeader(png)
    return { width, height }
  } catch (cause) {
    throw new Error(`${file}: expected a PNG image; remove the file or draw the samples again.`, { cause })
  }
}
