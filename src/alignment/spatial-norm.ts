import { standardizeTokens } from '../tensor/ops/token-grid.ts'
import type { Tensor } from '../tensor/tensor.ts'

const EPSILON = 1e-6

/**
 * iREPA's spatial normalisation of an encoder's features f32 [B, T, z] (arXiv 2512.10794): (x − gamma · mean) / (std + 1e-6), both over
 * an image's tokens. What all tokens share goes; how they differ stays.
 */
export function spatiallyNormalized(features: Tensor, gamma: number): Tensor {
  return standardizeTokens(features, gamma, EPSILON)
}
