import type { ChannelStatistics } from '../models/image-normalisation.ts'
import type { Model } from '../models/model.ts'
import type { VisionTransformerConfig } from '../models/vit-config.ts'
import type { StateEntry } from '../nn/parameter-list.ts'
import type { Device } from '../tensor/device.ts'
import type { Tensor } from '../tensor/tensor.ts'
import type { AdamW, AdamWOptions, StepSettings } from '../training/optimizer.ts'

/** The self-supervised objectives, as the command line spells them. */
export const METHOD_NAMES = ['mae', 'dino'] as const

export type MethodName = (typeof METHOD_NAMES)[number]

/** What a method is made for. */
export interface MethodOptions {
  /** The vision transformer that is trained. */
  readonly encoder: VisionTransformerConfig
  /** Of the data's channels, in [0, 1]: what its images are normalised by. */
  readonly statistics: ChannelStatistics
  /** Images in a step. */
  readonly batch: number
  /** Of the schedule at its highest, for this batch; undefined: the method's own. */
  readonly learningRate: number | undefined
  /** Of the first values and of every draw. */
  readonly seed: number
  readonly device: Device
}

/** The images of a step, as the data have them: u8 [count, 3, size, size] on the host, where they are augmented. */
export interface ImageBatch {
  readonly data: Uint8Array
  readonly count: number
  readonly size: number
}

/** A step: its number, counted from 0, and how many there will be. */
export interface StepNumber {
  readonly step: number
  readonly total: number
}

/** Scalars, by their names in metrics.jsonl. */
export interface PretrainingLosses {
  /** What is minimised. */
  readonly loss: Tensor
  readonly [part: string]: Tensor
}

/** The encoder in a method's arena, as it is written to a file of its own. */
export interface TrainedEncoder {
  readonly config: VisionTransformerConfig
  /** Which of the arena's arrays it is: the weights, or their moving average. */
  readonly role: 'weights' | 'ema'
  /** The tensors, and their names in a vision transformer's state dict (models/vit.ts). */
  readonly tensors: readonly { readonly name: string; readonly entry: StateEntry }[]
}

/**
 * A self-supervised objective: what it trains, and one step of it. Everything that is drawn depends on the seed and the step's number
 * alone (`keyedRandom`, or a `RandomKey`), so that a resumed run goes on as the unbroken one would have.
 */
export interface PretrainingMethod extends Disposable {
  readonly name: MethodName
  /** Encoder and heads in one arena: what the optimizer updates, and checkpoints hold under the entries' names. */
  readonly model: Model
  /** What of the optimizer is the same at every step. Tensors of one axis are never decayed. */
  readonly optimizer: Partial<Pick<AdamWOptions, 'betas' | 'epsilon' | 'maxGradNorm' | 'late'>>
  /** Learning rate, weight decay and decay of the moving average of a step, and whether it holds what begins late. */
  schedule(step: StepNumber): StepSettings
  /**
   * Augments the images and enqueues both passes: the losses' gradients end in the model's arena, multiplied by the loss scale of
   * `scaling`, an optimizer's state. The caller disposes the losses.
   */
  forwardBackward(images: ImageBatch, step: StepNumber, scaling?: Tensor): PretrainingLosses
  /** After the optimizer's step, which may have left its update out: DINO moves its centre. */
  afterUpdate?(optimizer: Pick<AdamW, 'follow'>): void
  /** f32 tensors that a checkpoint must hold beside the arena, by their names in it; a restored one is written into them. */
  readonly buffers: Readonly<Record<string, Tensor>>
  readonly encoder: TrainedEncoder
}
