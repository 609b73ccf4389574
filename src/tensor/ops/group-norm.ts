import { native } from '../../native.ts'
import type { ComputeDType } from '../dtype.ts'
import { Tensor } from '../tensor.ts'

/** Weight and bias [C], f32. */
export interface GroupNormWeights {
  readonly weight: Tensor
  readonly bias: Tensor
  /** Divides C. */
  readonly groups: number
  readonly epsilon: number
}

/**
 * torch's GroupNorm of x [N, ..., C] as a scale and a shift of every channel of a sample, [N, 2, C]: for a convolution to apply
 * (`ConvNorm`), or `groupNormApply`. Not differentiable.
 */
export function groupNormCoefficients(x: Tensor, { weight, bias, groups, epsilon }: GroupNormWeights): Tensor {
  return new Tensor(native().groupNormCoefficients(x.handle, weight.handle, bias.handle, groups, epsilon), x.device)
}

/** f(x · scale + shift) of `dtype`, coefficients [N, 2, C]. Not differentiable. */
export function groupNormApply(
  x: Tensor,
  coefficients: Tensor,
  activation: 'none' | 'silu' = 'none',
  dtype: ComputeDType = 'f32',
): Tensor {
  return new Tensor(native().groupNormApply(x.handle, coefficients.handle, activation, dtype), x.device)
}
