import { describe, expect, test } from 'vitest'
import { posteriorMoments, standardize } from '../../../src/tensor/ops/latents.ts'
import { scope } from '../../../src/tensor/scope.ts'
import { Tensor } from '../../../src/tensor/tensor.ts'
import { map, random } from '../../reference/array.ts'
import { DEVICES } from '../devices.ts'
import { opCase, testOps } from './op-case.ts'

type Shaped = (...shape: readonly number[]) => Tensor

testOps(
  'posteriorMoments',
  [
    [1, 2, 1, 1],
    [3, 4, 3, 5],
    [2, 64, 31, 33],
  ].map((shape) => {
    const parameters = random(shape, 1)
    const half = (shape[1]! / 2) * shape[2]! * shape[3]!
    return opCase({
      name: `[${shape}]`,
      inputs: { parameters },
      op: (t) => posteriorMoments(t.parameters),
      forward: () => map(parameters, (value, i) => (Math.floor(i / half) % 2 === 0 ? value : Math.exp(0.5 * value))),
      // The exponential is of a double: what is rounded is the result.
      rounding: () => ({ out: { roundings: 1, scale: Math.exp(0.5) } }),
    })
  }),
)

testOps(
  'standardize',
  [
    { shape: [1, 1, 1], of: [1] },
    { shape: [3, 4, 3, 5], of: [4] },
    { shape: [2, 7, 33], of: [7, 33] },
    { shape: [2, 6, 5, 4], of: [6, 5] },
  ].map(({ shape, of }) => {
    const [x, mean] = [random(shape, 1), random(of, 2)]
    const std = map(random(of, 3), (value) => 0.5 + Math.abs(value))
    const inner = shape.slice(1 + of.length).reduce((product, size) => product * size, 1)
    return opCase({
      name: `[${shape}] by [${of}]`,
      inputs: { x, mean, std },
      op: (t) => standardize(t.x, t.mean, t.std),
      forward: () =>
        map(x, (value, i) => {
          const group = Math.floor(i / inner) % mean.data.length
          return (value - mean.data[group]!) / std.data[group]!
        }),
      // A difference of two numbers up to 1, and its quotient by half at least.
      rounding: () => ({ out: { roundings: 2, scale: 4 } }),
    })
  }),
)

for (const { device, missing } of DEVICES) {
  describe.skipIf(missing)(`latents on ${device}`, () => {
    test('a logarithm of the variance is clamped to [-30, 20]', async () => {
      using parameters = Tensor.from(Float32Array.of(1, 1, 1, 1, -40, -29, 19, 25), [1, 8, 1, 1], device)
      using moments = posteriorMoments(parameters)
      const deviations = Float32Array.of(-30, -29, 19, 20).map((value) => Math.exp(0.5 * value))
      expect((await moments.data()).slice(4)).toEqual(deviations)
    })

    test.each([
      {
        op: (t: Shaped) => posteriorMoments(t(1, 3, 2, 2)),
        message: 'posteriorMoments: parameters has shape [1, 3, 2, 2]; expected [B, 2C, h, w].',
      },
      {
        op: (t: Shaped) => standardize(t(2, 3, 2), t(2), t(2)),
        message:
          'standardize: mean has shape [2]; expected the leading axes of a sample of x, which has shape [2, 3, 2].',
      },
      {
        op: (t: Shaped) => standardize(t(2, 3, 2), t(3, 2), t(3)),
        message: 'standardize: std has shape [3]; expected [3, 2].',
      },
    ])('refuses: $message', ({ op, message }) => {
      expect(() => scope(() => op((...shape) => Tensor.zeros(shape, device)))).toThrow(message)
    })

    test('a logarithm that is not a number gives a deviation that is none', async () => {
      using parameters = Tensor.from(Float32Array.of(1, Number.NaN), [1, 2, 1, 1], device)
      using moments = posteriorMoments(parameters)
      expect(await moments.data()).toEqual(Float32Array.of(1, Number.NaN))
    })
  })
}
