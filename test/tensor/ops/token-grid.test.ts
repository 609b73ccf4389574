import { describe, expect, test } from 'vitest'
import { native } from '../../../src/native.ts'
import { clamp } from '../../../src/tensor/ops/elementwise.ts'
import { standardizeTokens, unfoldTokens } from '../../../src/tensor/ops/token-grid.ts'
import { Tensor } from '../../../src/tensor/tensor.ts'
import { map, random } from '../../reference/array.ts'
import * as reference from '../../reference/token-grid.ts'
import { DEVICES } from '../devices.ts'
import { largestOf } from '../rounding.ts'
import { opCase, testOps } from './op-case.ts'

const GRIDS = [
  { grid: [1, 1], batch: 1, width: 1 },
  { grid: [1, 5], batch: 2, width: 3 },
  { grid: [2, 2], batch: 1, width: 72 },
  { grid: [3, 4], batch: 3, width: 17 },
  { grid: [16, 16], batch: 1, width: 30 },
] as const

testOps('unfoldTokens', (draw) =>
  GRIDS.map(({ grid, batch, width }) => {
    const x = draw([batch, grid[0] * grid[1], width], 1)
    return opCase({
      name: `[${x.shape}] on a grid of ${grid[0]} x ${grid[1]}`,
      inputs: { x },
      compute: ['x'],
      op: (t) => unfoldTokens(t.x, grid),
      forward: () => reference.unfoldTokens(x, grid),
      backward: (dOut) => ({ x: reference.unfoldTokensBackward(dOut, grid) }),
      // Copied forward; nine terms added backward.
      rounding: (dOut) => ({ out: { roundings: 0, scale: 0 }, x: { roundings: 9, scale: 9 * largestOf(dOut) } }),
    })
  }),
)

testOps(
  'standardizeTokens',
  [
    [1, 2, 1],
    [2, 3, 5],
    [1, 257, 72],
    [3, 16, 33],
  ].flatMap((shape) =>
    [1, 0.6, 0].map((share) => {
      const x = map(random(shape, 1), (value) => Math.fround(value + 0.5))
      const expected = reference.standardizeTokens(x, share, 1e-6)
      return opCase({
        name: `[${shape}], ${share} of the mean`,
        inputs: { x },
        op: (t) => standardizeTokens(t.x, share, 1e-6),
        forward: () => expected,
        // A mean and a mean of squares in float32, four sums side by side on a CPU; the result is what is left, over their root.
        rounding: () => ({ out: { roundings: shape[1]! / 4 + 8, scale: 4 * Math.max(1, largestOf(expected)) ** 2 } }),
      })
    }),
  ),
)

testOps('clamp', (draw) =>
  [[], [3], [2, 257]].map((shape) => {
    const x = draw(shape, 1, 2)
    return opCase({
      name: `[${shape}]`,
      inputs: { x },
      compute: ['x'],
      op: (t) => clamp(t.x, -0.5, 1),
      forward: () => map(x, (value) => Math.min(Math.max(value, -0.5), 1)),
      rounding: () => ({ out: { roundings: 0, scale: 0 } }),
    })
  }),
)

for (const { device, missing } of DEVICES) {
  describe.skipIf(missing)(`tokens as a grid on ${device}`, () => {
    const t = (shape: readonly number[]) => Tensor.zeros(shape, device)
    const REFUSALS: readonly (readonly [run: () => unknown, message: string])[] = [
      [
        () => unfoldTokens(t([1, 6, 2]), [2, 2]),
        'unfoldTokens: x has shape [1, 6, 2], which is not that of a grid of 2 x 2 tokens.',
      ],
      [() => unfoldTokens(t([4, 2]), [2, 2]), 'unfoldTokens: x has shape [4, 2]; expected [B, T, D].'],
      [
        () => native().unfoldTokensBackward(t([1, 4, 8]).handle, 2, 2),
        'unfoldTokensBackward: dOut has shape [1, 4, 8]; its last axis must be a multiple of 9.',
      ],
      [() => standardizeTokens(t([1, 1, 3]), 1, 1e-6), 'a standard deviation needs two tokens at least.'],
      [() => clamp(t([2]), 1, 0), 'expected the lower one first.'],
    ]
    test.each(REFUSALS)('refusal %#', (run, message) => {
      expect(run).toThrow(message)
    })

    test('NaN stays NaN', async () => {
      using x = Tensor.from(new Float32Array([Number.NaN, 3]), [2], device)
      using out = clamp(x, 0, 1)
      expect([...(await out.data())]).toEqual([Number.NaN, 1])
    })
  })
}
