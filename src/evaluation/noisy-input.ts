import { DIFFUSION_STEPS, gaussianDiffusion } from '../diffusion/gaussian-diffusion.ts'
import type { AnyTransformer } from '../models/transformer-kinds.ts'
import type { InterpolantPath } from '../native.ts'
import { add, scale } from '../tensor/ops/elementwise.ts'
import { interpolant } from '../tensor/ops/interpolant.ts'
import { Tensor } from '../tensor/tensor.ts'

export interface NoisyInput {
  readonly x: Tensor
  /** [B], as the model takes it. */
  readonly t: Tensor
}

/**
 * Clean latents [B, C, H, W] at a noise level from 0 (the data) to 1 (noise), by the model's own process: for a SiT the interpolant at
 * that time of REPA's, which the original SiT counts backwards; for a DiT the step of the diffusion at that share of its 1000, the
 * first of which has a little noise already.
 */
export function noisyInput(
  model: AnyTransformer,
  clean: Tensor,
  noise: Tensor,
  level: number,
  path: InterpolantPath,
): NoisyInput {
  const batch = clean.shape[0]!
  const { device } = clean
  if (model.config.kind === 'DiT') {
    const step = Math.round(level * (DIFFUSION_STEPS - 1))
    const signal = gaussianDiffusion({ steps: DIFFUSION_STEPS }).alphasCumprod[step]!
    const x = add(scale(clean, Math.sqrt(signal)), scale(noise, Math.sqrt(1 - signal)))
    return { x, t: Tensor.full([batch], step, device) }
  }
  const { interpolated } = interpolant(clean, noise, Tensor.full([batch], level, device), path)
  const isBackwards = model.config.convention === 'sit'
  return { x: interpolated, t: Tensor.full([batch], isBackwards ? 1 - level : level, device) }
}
