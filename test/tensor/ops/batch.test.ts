import { describe, expect, test } from 'vitest'
import type { Device } from '../../../src/tensor/device.ts'
import { joinBatches, repeatBatch } from '../../../src/tensor/ops/batch.ts'
import { Tensor } from '../../../src/tensor/tensor.ts'
import { DEVICES } from '../devices.ts'

/** Samples of three numbers each, the first of which is `from`. */
function samples(count: number, from: number, dtype: 'f32' | 'i32', device: Device): Tensor {
  const values = Array.from({ length: 3 * count }, (_, i) => from + i)
  const array = dtype === 'f32' ? Float32Array.from(values) : Int32Array.from(values)
  return Tensor.from(array, [count, 3], device)
}

const upTo = (end: number) => Array.from({ length: end }, (_, i) => i)

for (const { device, missing } of DEVICES) {
  describe.skipIf(missing)(`batches on ${device}`, () => {
    test.each([
      { first: 2, second: 3, dtype: 'f32' },
      { first: 4, second: 1, dtype: 'i32' },
      { first: 0, second: 2, dtype: 'f32' },
    ] as const)('$first samples and $second behind them, $dtype', async ({ first, second, dtype }) => {
      using a = samples(first, 0, dtype, device)
      using b = samples(second, 3 * first, dtype, device)
      using both = joinBatches(a, b)
      expect(both.shape).toEqual([first + second, 3])
      expect(both.dtype).toBe(dtype)
      expect([...(await both.dataAs(dtype))]).toEqual(upTo(3 * (first + second)))
    })

    test.each(['f32', 'i32'] as const)('one sample of %s, three times', async (dtype) => {
      using one = samples(1, 5, dtype, device)
      using all = repeatBatch(one, 3)
      expect(all.shape).toEqual([3, 3])
      expect([...(await all.dataAs(dtype))]).toEqual([5, 6, 7, 5, 6, 7, 5, 6, 7])
    })
  })
}
