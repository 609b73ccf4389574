import { describe, expect, test } from 'vitest'
import { native } from '../../../src/native.ts'
import { cast } from '../../../src/tensor/ops/cast.ts'
import { Tensor } from '../../../src/tensor/tensor.ts'
import { fromValues, map, type NdArray, random, roundTo, zeros } from '../../reference/array.ts'
import { DEVICES } from '../devices.ts'
import { expectRounded } from '../rounding.ts'
import { ndArray, upload } from './op-case.ts'

const SHAPES: readonly (readonly number[])[] = [
  [1, 1],
  [3, 3],
  [257, 72],
  [70, 33],
  [2, 5, 1030],
  [1000, 8],
  [0, 5],
  [300, 260],
]

for (const { device, missing } of DEVICES) {
  for (const dtype of device === 'cpu' ? (['f32'] as const) : (['f32', 'bf16', 'f16'] as const)) {
    describe.skipIf(missing)(`sums on ${device} in ${dtype}`, () => {
      const drawn = (shape: readonly number[]) => map(random(shape, 1), (value) => roundTo(dtype, value))

      test.each(SHAPES.map((shape) => ({ shape })))('columnSum of [$shape]', async ({ shape }) => {
        const x = drawn(shape)
        const width = shape.at(-1)!
        const rows = x.data.length / width
        using wide = upload(x, device)
        using values = cast(wide, dtype)
        using out = Tensor.zeros([width], device)
        native().fill(out.handle, 7)
        native().columnSum(values.handle, out.handle, false)
        const bound = { roundings: rows + 1, scale: Math.sqrt(rows) }
        expectRounded('sums', await ndArray(out), columnSums(x, 0), bound)
        native().fill(out.handle, 7)
        native().columnSum(values.handle, out.handle, true)
        expectRounded('added sums', await ndArray(out), columnSums(x, 7), { ...bound, scale: bound.scale + 7 })
      })
    })
  }

  describe.skipIf(missing)(`sum on ${device}`, () => {
    test.each([0, 1, 3, 255, 256, 1024, 4097, 100_000, 262_145, 600_001])(
      'of %i elements is the double sum, rounded once',
      async (count) => {
        const x = random([count], 2)
        using values = upload(x, device)
        using out = new Tensor(native().sum(values.handle, 0.5), device)
        const exact = 0.5 * x.data.reduce((a, b) => a + b, 0)
        const [value] = (await ndArray(out)).data
        expect(Math.abs(value! - exact)).toBeLessThanOrEqual(2 ** -24 * Math.abs(exact) + count * 2 ** -53)
      },
    )
  })
}

function columnSums(a: NdArray, start: number): NdArray {
  const width = a.shape.at(-1)!
  const sums = fromValues(
    [width],
    zeros([width]).data.map(() => start),
  )
  for (const [i, value] of a.data.entries()) sums.data[i % width]! += value
  return sums
}
