import { describe, expect, test } from 'vitest'
import { drawViews } from '../../src/pretraining/dino-views.ts'
import type { ImageBatch } from '../../src/pretraining/method.ts'
import { randomIntegers } from '../reference/array.ts'

const SIZE = 12
const OPTIONS = { localViews: 3, globalSize: 12, localSize: 6 }

function noise(count: number): ImageBatch {
  return { data: Uint8Array.from(randomIntegers(count * 3 * SIZE * SIZE, 256, 1)), count, size: SIZE }
}

/** Every image of one grey level of its own. */
function flat(levels: readonly number[]): ImageBatch {
  const data = new Uint8Array(levels.length * 3 * SIZE * SIZE)
  levels.forEach((level, i) => {
    data.fill(level, i * 3 * SIZE * SIZE, (i + 1) * 3 * SIZE * SIZE)
  })
  return { data, count: levels.length, size: SIZE }
}

describe('views', () => {
  test('there are two global ones and the local ones of every image', () => {
    const { global, local } = drawViews(noise(4), OPTIONS, { seed: 1, step: 0 })
    expect(global).toMatchObject({ views: 2, size: 12 })
    expect(global.pixels).toHaveLength(2 * 4 * 3 * 12 * 12)
    expect(local).toMatchObject({ views: 3, size: 6 })
    expect(local.pixels).toHaveLength(3 * 4 * 3 * 6 * 6)
  })

  test('depend on the seed, the step and the number of the image in the batch alone', () => {
    const all = drawViews(noise(3), OPTIONS, { seed: 1, step: 7 })
    const again = drawViews(noise(3), OPTIONS, { seed: 1, step: 7 })
    expect(again).toEqual(all)
    const first = drawViews(noise(1), OPTIONS, { seed: 1, step: 7 })
    const length = 3 * 12 * 12
    expect(first.global.pixels.subarray(0, length)).toEqual(all.global.pixels.subarray(0, length))
    for (const other of [
      { seed: 2, step: 7 },
      { seed: 1, step: 8 },
    ]) {
      expect(drawViews(noise(3), OPTIONS, other).global.pixels).not.toEqual(all.global.pixels)
    }
  })

  test('a view is of its own image: one of a single grey stays one', () => {
    // Jitter scales a grey by 0.6 to 1.4, rounding once or twice; solarisation inverts what is bright.
    const levels = [0, 40, 60]
    const { global, local } = drawViews(flat(levels), OPTIONS, { seed: 3, step: 1 })
    for (const { pixels, views, size } of [global, local]) {
      const length = 3 * size * size
      for (let view = 0; view < views; view++) {
        levels.forEach((level, i) => {
          const picture = pixels.subarray((view * levels.length + i) * length, (view * levels.length + i + 1) * length)
          const grey = picture[0]!
          expect(picture.every((value) => value === grey)).toBe(true)
          expect(grey).toBeGreaterThanOrEqual(Math.floor(0.6 * level) - 2)
          expect(grey).toBeLessThanOrEqual(Math.ceil(1.4 * level) + 2)
        })
      }
    }
  })

  test('some second views are solarised, no first ones', () => {
    const white = flat(new Array(200).fill(250))
    const { global } = drawViews(white, { ...OPTIONS, localViews: 0 }, { seed: 5, step: 2 })
    const length = 3 * 12 * 12
    const dark = (view: number) =>
      Array.from({ length: 200 }, (_, i) => global.pixels[(view * 200 + i) * length]! < 105).filter(Boolean).length
    // A grey of 250 is scaled to 150 at least, and inverted to 105 at most, with a chance of 0.2: 40 of 200, give or take 6.
    expect(dark(0)).toBe(0)
    expect(dark(1)).toBeGreaterThan(15)
    expect(dark(1)).toBeLessThan(70)
  })
})
