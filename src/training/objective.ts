/** What a kind of model learns: the interface of an objective, and the batch that it noises. */
import type { TokenRoute } from '../models/token-route.ts'
import type { Device } from '../tensor/device.ts'
import type { PackedHeads } from '../tensor/ops/attention-alignment.ts'
import type { RandomKey } from '../tensor/random.ts'
import type { Tensor } from '../tensor/tensor.ts'

/** What one training pass is made of, on the device. */
export interface TrainingBatch {
  /** Clean latents [B, C, H, W]. */
  readonly latents: Tensor
  /** What the model is told of each sample, already dropped: labels i32 [B], or of a model of text its hidden states [B, L, W]. */
  readonly condition: Tensor
  /** Times [B], as the objective draws them. */
  readonly t: Tensor
  /** N(0, 1) [B, C, H, W]. */
  readonly noise: Tensor
  /** Features [B, T, z] of each encoder; empty: no alignment. */
  readonly targets: readonly Tensor[]
  /** What the first encoder's attention reads in the blocks that the model's is compared with, in their order. */
  readonly attentionTargets?: readonly PackedHeads[] | undefined
  /** Hidden states [B, T, D] of the averaged model, where there is self-alignment. */
  readonly teacher?: Tensor
  /** What other samples' predictions aim at [B, C, H, W], where flows are contrasted. */
  readonly negatives?: Tensor
  /** Past some of the blocks. What is aligned inside of it is aligned for the kept tokens alone. */
  readonly route?: TokenRoute | undefined
  /** Where a class token is denoised along. */
  readonly classToken?: ClassToken | undefined
}

/** An encoder's class token of each image, and the noise that it gets, N(0, 1): [B, z] each. */
export interface ClassToken {
  readonly clean: Tensor
  readonly noise: Tensor
}

/** What a kind of model learns: SiT a velocity (sit-objective.ts), DiT noise and variance (dit-objective.ts). */
export interface Objective extends Disposable {
  /** Times [B] of a step's samples. Drawn before the step, so that a captured step only reads them. */
  drawTimes(batch: number, key: RandomKey, device: Device): Tensor
  /**
   * Times [B] less noisy than `t`, by up to `offset` of the whole, drawn uniformly, and none before the data's. Left out where the kind of
   * model has no such times.
   */
  drawEarlierTimes?(t: Tensor, offset: number, key: RandomKey): Tensor
  /** What the model is to predict of each sample, [B, C, H, W]. Left out where that is no velocity. */
  velocities?(batch: Pick<TrainingBatch, 'latents' | 'noise' | 't'>): Tensor
  /** Noises a batch. Enqueues only work that depends on the batch's tensors, so that a step can be captured. */
  noised(batch: Pick<TrainingBatch, 'latents' | 'noise' | 't'>): Noised
  /** Noises class tokens as the latents of the same times. Left out where the kind of model denoises none. */
  noisedClassToken?(token: ClassToken, t: Tensor): NoisedClassToken
}

/** Noised class tokens. */
export interface NoisedClassToken {
  /** What the model is shown, [B, z]. */
  readonly input: Tensor
  /**
   * Per sample, the mean squared error of the velocity [B, z]: [B]. While a tape records, also seeds its backward pass with the gradient
   * of `weight` times its mean, multiplied by the loss scale of `scaling`.
   */
  loss(prediction: Tensor, weight: number, scaling?: Tensor): Tensor
}

/** A noised batch. */
export interface Noised {
  /** What the model is shown, [B, C, H, W]. */
  readonly input: Tensor
  /** The times [B] that the model is told. */
  readonly t: Tensor
  /**
   * The losses of the model's prediction. While a tape records, also seeds its backward pass with the gradient of their means' sum,
   * multiplied by the loss scale of `scaling`, an optimizer's state.
   */
  losses(prediction: Tensor, scaling?: Tensor): DenoisingLosses
}

/** Per sample [B]; the training loss is the sum of their means, that of the cosine by its weight. */
export interface DenoisingLosses {
  /** The mean squared error of the velocity, or of the noise. */
  readonly denoising: Tensor
  /** DiT's variational bound, in bits a dimension. */
  readonly vb?: Tensor
  /** 1 − the velocity's cosine; its gradient is seeded by the objective's weight. */
  readonly velocityCosine?: Tensor
}
