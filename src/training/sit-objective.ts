import type { SiTConvention } from '../models/sit.ts'
import type { InterpolantPath, TimeWeighting } from '../native.ts'
import type { Device } from '../tensor/device.ts'
import { add, clamp, scale } from '../tensor/ops/elementwise.ts'
import { interpolant } from '../tensor/ops/interpolant.ts'
import { velocityLoss } from '../tensor/ops/loss.ts'
import { fillUniform, type RandomKey, randomTimesteps } from '../tensor/random.ts'
import { scope } from '../tensor/scope.ts'
import { Tensor } from '../tensor/tensor.ts'
import type { Noised, Objective, TrainingBatch } from './objective.ts'

export interface SiTObjectiveOptions {
  /** Default: linear. */
  readonly path?: InterpolantPath
  /** How times are drawn. Default: uniform. */
  readonly weighting?: TimeWeighting
  /** The model's. Default: repa. */
  readonly convention?: SiTConvention
}

/** SiT's, as REPA has it (loss.py): the velocity of the interpolant between latents (t = 0) and noise (t = 1). */
export class SiTObjective implements Objective {
  readonly #path: InterpolantPath
  readonly #weighting: TimeWeighting
  readonly #convention: SiTConvention

  constructor({ path = 'linear', weighting = 'uniform', convention = 'repa' }: SiTObjectiveOptions = {}) {
    this.#path = path
    this.#weighting = weighting
    this.#convention = convention
  }

  drawTimes(batch: number, key: RandomKey, device: Device): Tensor {
    return randomTimesteps(batch, this.#weighting, this.#path, key, device)
  }

  drawEarlierTimes(t: Tensor, offset: number, key: RandomKey): Tensor {
    return scope(() => {
      const offsets = Tensor.empty(t.shape, t.device)
      fillUniform(offsets, -offset, 0, key)
      return clamp(add(t, offsets), 0, 1)
    })
  }

  noised({ latents, noise, t }: Pick<TrainingBatch, 'latents' | 'noise' | 't'>): Noised {
    const { interpolated, velocity } = interpolant(latents, noise, t, this.#path)
    const target = this.#byTheModelsTime(velocity)
    return {
      input: interpolated,
      t: this.#convention === 'repa' ? t : oneMinus(t),
      losses: (prediction, scaling) => ({ denoising: velocityLoss(prediction, target, 1, scaling) }),
    }
  }

  velocities({ latents, noise, t }: Pick<TrainingBatch, 'latents' | 'noise' | 't'>): Tensor {
    return scope(() => this.#byTheModelsTime(interpolant(latents, noise, t, this.#path).velocity))
  }

  #byTheModelsTime(velocity: Tensor): Tensor {
    return this.#convention === 'repa' ? velocity : scale(velocity, -1)
  }

  [Symbol.dispose](): void {}
}

function oneMinus(t: Tensor): Tensor {
  return add(Tensor.full(t.shape, 1, t.device), scale(t, -1))
}
