import { DIFFUSION_STEPS, gaussianDiffusion } from '../diffusion/gaussian-diffusion.ts'
import { hybridLossTable, noisingTable } from '../diffusion/hybrid-loss-table.ts'
import type { DiT } from '../models/dit.ts'
import type { Device } from '../tensor/device.ts'
import { combineSamples } from '../tensor/ops/diffusion.ts'
import { hybridLoss, velocityLoss } from '../tensor/ops/loss.ts'
import { type RandomKey, randomIntegers } from '../tensor/random.ts'
import { keep } from '../tensor/scope.ts'
import { Tensor } from '../tensor/tensor.ts'
import type { Noised, Objective, TrainingBatch } from './objective.ts'

/**
 * DiT's: the noise in x_t, at a step of the diffusion that is drawn uniformly, and by the variational bound, which sees the noise's
 * prediction detached, the variance. Without `learnSigma`, the noise alone.
 */
export class DiTObjective implements Objective {
  readonly #learnSigma: boolean
  /** f64 [T, 2]. */
  readonly #noising: Tensor
  /** f64 [T, 4]. */
  readonly #losses: Tensor

  constructor({ config, device }: DiT) {
    const diffusion = gaussianDiffusion({ steps: DIFFUSION_STEPS })
    this.#learnSigma = config.learnSigma
    this.#noising = keep(Tensor.from(noisingTable(diffusion), [DIFFUSION_STEPS, 2], device))
    this.#losses = keep(Tensor.from(hybridLossTable(diffusion), [DIFFUSION_STEPS, 4], device))
  }

  drawTimes(batch: number, key: RandomKey, device: Device): Tensor {
    return randomIntegers(batch, 0, DIFFUSION_STEPS, key, device)
  }

  noised({ latents, noise, t }: Pick<TrainingBatch, 'latents' | 'noise' | 't'>): Noised {
    return {
      input: combineSamples(latents, noise, t, this.#noising),
      t,
      losses: (prediction, scaling) => {
        if (!this.#learnSigma) return { denoising: velocityLoss(prediction, noise, 1, scaling) }
        const { mse, vb } = hybridLoss(prediction, { target: noise, x0: latents, t, table: this.#losses }, { scaling })
        return { denoising: mse, vb }
      },
    }
  }

  [Symbol.dispose](): void {
    this.#noising.dispose()
    this.#losses.dispose()
  }
}
