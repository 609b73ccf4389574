import { describe, expect, test } from 'vitest'
import { AverageFeatures } from '../../src/alignment/average-features.ts'
import { memoryStats } from '../../src/tensor/device.ts'
import { scope } from '../../src/tensor/scope.ts'
import { Tensor } from '../../src/tensor/tensor.ts'

describe('the average image’s features', () => {
  /** Of a grid of 1 x 2 and a width of 2: 0.5 and 1, 1.5 and 4. */
  const values = Float32Array.of(0.5, 1, 1.5, 4)

  test.each([
    ['at each place of its own grid', [1, 2], [9.5, 9, 8.5, 6, 9.5, 9, 8.5, 6]],
    ['their mean over all places, of another grid', [2, 1], [9, 7.5, 9, 7.5, 9, 7.5, 9, 7.5]],
  ] as const)('are taken off: %s', async (_, grid, expected) => {
    using average = new AverageFeatures(values, [1, 2])
    const held: number[] = []
    for (const _time of [1, 2, 3]) {
      held.push(memoryStats('cpu').liveBytes)
      using left = scope(() => average.takenOff(Tensor.full([2, 2, 2], 10, 'cpu'), grid))
      expect([...(await left.data())]).toEqual(expected)
    }
    // The table is made at the first time and kept.
    expect(held[2]).toBe(held[1])
  })

  test('a class token before them stays as it is', async () => {
    using average = new AverageFeatures(values, [1, 2])
    for (const classToken of [true, false, true]) {
      using left = scope(() =>
        average.takenOff(Tensor.full([1, classToken ? 3 : 2, 2], 10, 'cpu'), [1, 2], { classToken }),
      )
      expect([...(await left.data())]).toEqual([...(classToken ? [10, 10] : []), 9.5, 9, 8.5, 6])
    }
  })
})
