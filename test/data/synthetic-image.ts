import type { RgbImage } from '../../src/data/rgb-image.ts'

/** Noise from the upper byte of a linear congruential generator: the same picture everywhere. */
export function syntheticImage(width: number, height: number, seed = 1): RgbImage {
  const data = new Uint8Array(width * height * 3)
  let state = seed
  for (let i = 0; i < data.length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    data[i] = state >>> 24
  }
  return { width, height, data }
}
