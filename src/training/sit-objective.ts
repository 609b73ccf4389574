import type { SiTConvention } from '../models/sit.ts'
import type { InterpolantPath, TimeWeighting } from '../native.ts'
import type { Device } from '../tensor/device.ts'
import { add, clamp, scale } from '../tensor/ops/elementwise.ts'
import { interpolant } from '../tensor/ops/interpolant.ts'
import { velocityLoss } from '../tensor/ops/loss.ts'
import { velocityCosineLoss } from '../tensor/ops/velocity-cosine.ts'
import { fillUniform, type RandomKey, randomTimesteps, type TimeDistribution } from '../tensor/random.ts'
import { scope } from '../tensor/scope.ts'
import { Tensor } from '../tensor/tensor.ts'
import type { ClassToken, Noised, NoisedClassToken, Objective, TrainingBatch } from './objective.ts'
import { REFERENCE_DEFAULTS } from './reference-defaults.ts'

/** What is left out is as in `REFERENCE_DEFAULTS`. */
export interface SiTObjectiveOptions {
  readonly path?: InterpolantPath
  /** How times are drawn. */
  readonly weighting?: TimeWeighting
  /** Of the times, towards noise (`TimeDistribution`); 1: none. */
  readonly timeShift?: number
  /** The model's. Default: repa. */
  readonly convention?: SiTConvention
  /** Of the loss of the velocity's direction (arXiv 2501.01423); 0: there is none. */
  readonly velocityCosineWeight?: number
}

/** SiT's, as REPA has it (loss.py): the velocity of the interpolant between latents (t = 0) and noise (t = 1). */
export class SiTObjective implements Objective {
  readonly #path: InterpolantPath
  readonly #times: TimeDistribution
  readonly #convention: SiTConvention
  readonly #velocityCosineWeight: number

  constructor(options: SiTObjectiveOptions = {}) {
    const {
      path = REFERENCE_DEFAULTS.path,
      weighting = REFERENCE_DEFAULTS.weighting,
      timeShift = REFERENCE_DEFAULTS.timeShift,
      convention = 'repa',
      velocityCosineWeight = REFERENCE_DEFAULTS.velocityCosineWeight,
    } = options
    this.#path = path
    this.#times = { weighting, path, shift: timeShift }
    this.#convention = convention
    this.#velocityCosineWeight = velocityCosineWeight
  }

  drawTimes(batch: number, key: RandomKey, device: Device): Tensor {
    return randomTimesteps(batch, this.#times, key, device)
  }

  drawEarlierTimes(t: Tensor, offset: number, key: RandomKey): Tensor {
    return scope(() => {
      const offsets = Tensor.empty(t.shape, t.device)
      fillUniform(offsets, -offset, 0, key)
      return clamp(add(t, offsets), 0, 1)
    })
  }

  noised({ latents, noise, t }: Pick<TrainingBatch, 'latents' | 'noise' | 't'>): Noised {
    const { input, velocity } = this.#between(latents, noise, t)
    const weight = this.#velocityCosineWeight
    return {
      input,
      t: this.#convention === 'repa' ? t : oneMinus(t),
      losses: (prediction, scaling) => ({
        denoising: velocityLoss(prediction, velocity, 1, scaling),
        ...(weight > 0 && { velocityCosine: velocityCosineLoss(prediction, velocity, weight, scaling) }),
      }),
    }
  }

  velocities({ latents, noise, t }: Pick<TrainingBatch, 'latents' | 'noise' | 't'>): Tensor {
    return scope(() => this.#between(latents, noise, t).velocity)
  }

  /** REG's, as its code has it: the same path, times and velocity. */
  noisedClassToken({ clean, noise }: ClassToken, t: Tensor): NoisedClassToken {
    const { input, velocity } = this.#between(clean, noise, t)
    return { input, loss: (prediction, weight, scaling) => velocityLoss(prediction, velocity, weight, scaling) }
  }

  /** On the way from data to noise at t: what the model is shown, and the velocity by its time. */
  #between(data: Tensor, noise: Tensor, t: Tensor): { readonly input: Tensor; readonly velocity: Tensor } {
    const { interpolated, velocity } = interpolant(data, noise, t, this.#path)
    return { input: interpolated, velocity: this.#convention === 'repa' ? velocity : scale(velocity, -1) }
  }

  [Symbol.dispose](): void {}
}

function oneMinus(t: Tensor): Tensor {
  return add(Tensor.full(t.shape, 1, t.device), scale(t, -1))
}
