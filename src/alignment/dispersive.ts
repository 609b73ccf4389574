/**
 * Dispersive loss ("Diffuse and Disperse", arXiv 2506.09027), its form of InfoNCE with squared distances: the samples of a batch are
 * pushed apart in the space of a block's output. It needs neither an encoder nor parameters.
 */
import { dispersion } from '../tensor/ops/contrast.ts'
import type { Tensor } from '../tensor/tensor.ts'

export interface Dispersive {
  /** In the training loss. */
  readonly weight: number
  /** By which the mean squared differences of two samples are divided. */
  readonly temperature: number
  /** Block whose output is dispersed, from 1. */
  readonly depth: number
}

/**
 * log mean over all pairs of exp(−mean (h_i − h_j)² / temperature) of hidden states [B, T, D]: one number. While a tape records, the
 * gradient of `weight` times it is seeded.
 */
export function dispersiveLoss(hidden: Tensor, { temperature, weight }: Dispersive, scaling?: Tensor): Tensor {
  return dispersion(hidden, { temperature, weight, scaling })
}
