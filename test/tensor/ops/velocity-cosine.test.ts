import { describe, expect, test } from 'vitest'
import { velocityCosineLoss } from '../../../src/tensor/ops/velocity-cosine.ts'
import { Tensor } from '../../../src/tensor/tensor.ts'
import { map, random } from '../../reference/array.ts'
import { velocityCosine, velocityCosineBackward } from '../../reference/velocity-cosine.ts'
import { DEVICES } from '../devices.ts'
import { type Draw, type LossCase, runLoss, testLosses } from './loss-case.ts'

function cosineCase(draw: Draw, shape: readonly number[], weight?: number): LossCase {
  // No vector of channels is short: the gradient goes with the reciprocal of its length.
  const away = (value: number) => (Math.abs(value) < 0.5 ? 0.5 * (value < 0 ? -1 : 1) : value)
  const prediction = map(draw(shape, 1), away)
  const target = map(random(shape, 2), away)
  const [batch, channels, ...rest] = shape as [number, number, ...number[]]
  const pixels = rest.reduce((a, b) => a * b, 1)
  return {
    name: `velocityCosineLoss of [${shape}]`,
    prediction,
    target,
    weight,
    loss: velocityCosineLoss,
    perSample: velocityCosine(prediction, target),
    gradient: velocityCosineBackward(prediction, target, weight),
    rounding: {
      loss: { roundings: 3 * channels + 8, scale: 2 },
      // Both unit vectors over the prediction's length, which is √C / 2 at least.
      gradient: { roundings: 3 * channels + 10, scale: (4 * (weight ?? 1)) / (batch * pixels * Math.sqrt(channels)) },
    },
  }
}

// Fewer pixels than a block has threads, several of a thread's; one channel, whose cosine is a sign; the sizes of latents.
testLosses('velocityCosineLoss', (draw) => [
  cosineCase(draw, [1, 1, 1]),
  cosineCase(draw, [3, 5, 7], 2),
  cosineCase(draw, [2, 4, 17, 19]),
  cosineCase(draw, [2, 32, 16, 16], 0.5),
])

for (const { device, missing } of DEVICES) {
  describe.skipIf(missing)(`velocityCosineLoss on ${device}`, () => {
    // As torch: 1 − 0, and the gradient of p / 1e-8; of a target of length 0 none.
    test('of vectors of length 0 is 1, and the gradient is finite', async () => {
      const zero = map(random([1, 2, 2], 1), (_, i) => (i % 2 === 0 ? 0 : 3))
      const other = map(zero, (_, i) => [4, 0, 3, 0][i]!)
      const table = { ...cosineCase(random, [1, 2, 2]), prediction: zero, target: other }
      const { loss, gradient } = await runLoss(table, device, 'f32')
      expect([...loss]).toEqual([1])
      expect([...gradient.data].map((value) => Math.round(value))).toEqual([-0.4e8, 0, -0.3e8, 0])
      const exact = velocityCosineBackward(zero, other)
      expect([...exact.data].map((value) => Math.round(value))).toEqual([-0.4e8, -0, -0.3e8, -0])
    })

    test.each([
      [[2], [2], 'prediction has shape [2]; expected [B, C, ...], and some elements.'],
      [[2, 3, 0], [2, 3, 0], 'prediction has shape [2, 3, 0]; expected [B, C, ...], and some elements.'],
      [[2, 3, 4], [2, 4, 3], 'target has shape [2, 4, 3]; expected [2, 3, 4].'],
    ])('%j and %j are refused', (own, of, sentence) => {
      using prediction = Tensor.zeros(own, device)
      using target = Tensor.zeros(of, device)
      expect(() => velocityCosineLoss(prediction, target)).toThrow(`velocityCosineLoss: ${sentence}`)
    })
  })
}
