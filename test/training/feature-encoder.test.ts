import { describe, expect, test } from 'vitest'
import { loadEncoder } from '../../src/alignment/encoders.ts'
import { numberToFloat16 } from '../../src/tensor/float16.ts'
import { planar } from '../../src/tensor/planes.ts'
import { scope } from '../../src/tensor/scope.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { openFeatureEncoder } from '../../src/training/feature-encoder.ts'
import { randomIntegers } from '../reference/array.ts'
import { DEVICES } from '../tensor/devices.ts'

const SIZE = 16
const GRID = [4, 2] as const
const pictures = Array.from({ length: 3 }, (_, i) => Uint8Array.from(randomIntegers(3 * SIZE ** 2, 256, 40 + i)))

for (const { device, missing } of DEVICES) {
  describe.skipIf(missing)(`features that are kept, on ${device}`, () => {
    test("are each image's own, rounded to f16", async () => {
      using opened = await openFeatureEncoder('hog', undefined, { device })
      const found = await opened.encode(pictures, SIZE, GRID)
      using encoder = await loadEncoder('hog')
      const planes = planar(Buffer.concat(pictures), SIZE ** 2)
      using features = scope(() =>
        encoder.features(Tensor.from(planes, [pictures.length, 3, SIZE, SIZE], device), GRID),
      )
      expect(features.shape).toEqual([pictures.length, GRID[0] * GRID[1], opened.width])
      const expected = Uint16Array.from(await features.data(), numberToFloat16)
      expect(found.map((values) => values.length)).toEqual(pictures.map(() => expected.length / pictures.length))
      expect(found.flatMap((values) => [...values])).toEqual([...expected])
      expect(new Set(expected).size).toBeGreaterThan(20)
    })
  })
}

test('are made on the CPU where nothing else is said', async () => {
  using opened = await openFeatureEncoder('hog')
  expect(await opened.encode(pictures, SIZE, GRID)).toHaveLength(pictures.length)
})
