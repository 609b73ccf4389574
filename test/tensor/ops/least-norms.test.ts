/** Losses of a prediction that is shorter than the least norm that they divide by: their gradients are those of a constant divisor. */
import { describe, expect, test } from 'vitest'
import { cosineAlignmentLoss } from '../../../src/tensor/ops/loss.ts'
import { velocityCosineLoss } from '../../../src/tensor/ops/velocity-cosine.ts'
import { Tape } from '../../../src/tensor/tape.ts'
import { Tensor } from '../../../src/tensor/tensor.ts'
import { DEVICES } from '../devices.ts'

interface ShortCase {
  readonly name: string
  readonly shape: readonly number[]
  readonly prediction: readonly number[]
  readonly target: readonly number[]
  readonly loss: (prediction: Tensor, target: Tensor) => Tensor
  /** Its first two elements. */
  readonly gradient: readonly [number, number]
}

const CASES: readonly ShortCase[] = [
  {
    // Both are divided by their norms, 1e-12 and 5: -(0.6, 0.8) / 1e-12.
    name: 'cosineAlignmentLoss',
    shape: [1, 1, 8],
    prediction: [3e-13, 0, 0, 0, 0, 0, 0, 0],
    target: [3, 4, 0, 0, 0, 0, 0, 0],
    loss: cosineAlignmentLoss,
    gradient: [-0.6e12, -0.8e12],
  },
  {
    // Of torch's cosine_similarity: the product of both norms is no less than 1e-8. Of p = (3e-9, 0) and t = (3, 4) that is n m = 1e-8 · 5, the
    // cosine 0.18, and the gradient −(t / (n m) − 0.18 p / (n |p|)).
    name: 'velocityCosineLoss',
    shape: [1, 2, 1],
    prediction: [3e-9, 0],
    target: [3, 4],
    loss: (prediction, target) => velocityCosineLoss(prediction, target),
    gradient: [-0.42e8, -0.8e8],
  },
]

for (const { device, missing } of DEVICES) {
  describe.skipIf(missing)(`a short prediction on ${device}`, () => {
    test.each(CASES)('$name', async ({ shape, prediction, target, loss, gradient }) => {
      using p = Tensor.from(Float32Array.from(prediction), shape, device)
      using t = Tensor.from(Float32Array.from(target), shape, device)
      using tape = new Tape()
      tape.watch(p)
      using _loss = tape.record(() => loss(p, t))
      const gradients = tape.backward()
      const [first, second] = await gradients.get(p)!.data()
      gradients.dispose()
      expect(first! / gradient[0]).toBeCloseTo(1, 5)
      expect(second! / gradient[1]).toBeCloseTo(1, 5)
    })
  })
}
