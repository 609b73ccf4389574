/**
 * Adam's first update is lr·g / (|g| + ε): where the gradient is all rounding it is ±lr at random. The gradient of every key
 * bias is such (the softmax does not see what is added to all keys alike, so it is exactly 0), and two correct float32
 * implementations, or the reference in float32 and in float64, differ there by more than the tolerance of a parameter.
 */
import type { Tensor } from '../../tensor/tensor.ts'

/** The golden set gives no gradient a tolerance below this share of its tensor's largest element. */
const GRADIENT_TOLERANCE = 4e-6

/** The constant of torch.nn.utils.clip_grad_norm_. */
const CLIP_EPSILON = 1e-6

export interface FirstUpdateOptions {
  readonly learningRate: number
  readonly epsilon: number
  readonly maxGradNorm: number
  /** Of all gradients, before clipping. */
  readonly gradNorm: number
}

/**
 * How far each element of a parameter may move when its gradient moves within the tolerance of gradients: lr times the
 * change of g / (|g| + ε). Next to nothing unless |g| is not far above ε. Rows that the pass did not reach (labels that
 * were not in the batch), all of whose gradients are 0, may not move at all.
 */
export async function firstUpdateAllowance(gradient: Tensor, options: FirstUpdateOptions): Promise<Float64Array> {
  const { learningRate, epsilon, maxGradNorm, gradNorm } = options
  const clip = Math.min(1, maxGradNorm / (gradNorm + CLIP_EPSILON))
  const values = await gradient.data()
  const largest = values.reduce((max, value) => Math.max(max, Math.abs(value)), 0)
  const movement = clip * GRADIENT_TOLERANCE * largest
  const quotient = (g: number) => g / (Math.abs(g) + epsilon)
  const allowance = new Float64Array(values.length)
  const width = gradient.shape.at(-1)!
  for (let row = 0; row < values.length; row += width) {
    if (values.subarray(row, row + width).every((value) => value === 0)) continue
    for (let i = row; i < row + width; i++) {
      const g = clip * Math.abs(values[i]!)
      // Towards zero, and past it: there the quotient is steepest.
      allowance[i] = learningRate * (quotient(g) - quotient(g - movement))
    }
  }
  return allowance
}
