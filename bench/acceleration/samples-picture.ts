import { readFile } from 'node:fs/promises'
import { decodeImage } from '../../src/data/image-decoding.ts'
import { encodePng } from '../../src/data/png.ts'
import type { RgbImage } from '../../src/data/rgb-image.ts'
import { ARMS, type Places } from './places.ts'
import { type Result, seedsOf } from './result.ts'

/** Measurements that are shown at most, evenly spread and with the last. */
const COLUMNS = 4
/** Pixels of the picture for one of an image. */
const ENLARGED = 2
/** Between measurements and between the two rows, in pixels of an image. */
const GAP = 6

/** The steps that are shown. */
export function shownSteps(result: Result): readonly number[] {
  const steps = result.runs[0].points.map(({ step }) => step)
  const count = Math.min(COLUMNS, steps.length)
  return Array.from({ length: count }, (_, i) => steps[Math.round(((i + 1) * steps.length) / count) - 1]!)
}

/**
 * The first seed's samples through training as a PNG: steps from left to right, the vanilla run above the aligned one, everywhere the
 * same noise and classes.
 */
export async function samplesPicture(result: Result, places: Places): Promise<Uint8Array> {
  const [seed] = seedsOf(result) as [number]
  const rows = await Promise.all(
    ARMS.map((arm) =>
      Promise.all(
        shownSteps(result).map(async (step) => {
          const { picture } = places.measurement(seed, arm, step)
          return decodeImage(await readFile(picture), picture)
        }),
      ),
    ),
  )
  const { width, height } = rows[0]![0]!
  const across = rows[0]!.length * (width + GAP) - GAP
  const whole = { width: across, height: rows.length * (height + GAP) - GAP }
  const data = new Uint8Array(whole.width * whole.height * 3).fill(255)
  for (const [row, tiles] of rows.entries()) {
    for (const [column, tile] of tiles.entries()) {
      paste(tile, data, whole.width, column * (width + GAP), row * (height + GAP))
    }
  }
  const shown = enlarged({ ...whole, data })
  return encodePng(shown.data, shown.width, shown.height, 3)
}

function paste(tile: RgbImage, data: Uint8Array, width: number, left: number, top: number): void {
  for (let y = 0; y < tile.height; y++) {
    const row = tile.data.subarray(y * tile.width * 3, (y + 1) * tile.width * 3)
    data.set(row, ((top + y) * width + left) * 3)
  }
}

/** Every pixel as a square: what was made is shown, and no browser's smoothing. */
function enlarged({ width, height, data }: RgbImage): RgbImage {
  const [across, down] = [width * ENLARGED, height * ENLARGED]
  const out = new Uint8Array(across * down * 3)
  for (let y = 0; y < down; y++) {
    for (let x = 0; x < across; x++) {
      const from = (Math.floor(y / ENLARGED) * width + Math.floor(x / ENLARGED)) * 3
      out.set(data.subarray(from, from + 3), (y * across + x) * 3)
    }
  }
  return { width: across, height: down, data: out }
}
