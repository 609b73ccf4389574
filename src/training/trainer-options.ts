/** What a Trainer takes and what it reports. */
import type { AttentionAlignment } from '../alignment/attention-alignment.ts'
import type { Dispersive } from '../alignment/dispersive.ts'
import type { AlignmentSchedule } from '../alignment/schedule.ts'
import type { SelfAlignment } from '../alignment/self-alignment.ts'
import type { Dataset, LatentMaker } from '../data/dataset.ts'
import type { World } from '../distributed/world.ts'
import type { TokenRouting } from '../models/token-route.ts'
import type { AnyTransformer } from '../models/transformer-kinds.ts'
import type { InterpolantPath, TimeWeighting } from '../native.ts'
import type { ComputeDType } from '../tensor/dtype.ts'
import type { Recomputation } from '../tensor/recomputation.ts'
import type { Tensor } from '../tensor/tensor.ts'
import type { CaptionEncoder } from '../text/caption-encoder.ts'
import type { AlignmentEncoder } from './cached-encoder.ts'
import type { CheckpointState } from './checkpoint.ts'
import type { ContrastiveFlow } from './contrastive-flow.ts'
import type { LearningRateSchedule } from './learning-rate.ts'
import type { AdamWOptions } from './optimizer.ts'
import type { Precision } from './precision.ts'
import type { StepTiming } from './steps-ahead.ts'

/**
 * What aligns the hidden states: one encoder or several, after block `depth`, with this weight in the loss. Weight, loss and temperature
 * that are left out are as in `REFERENCE_DEFAULTS`.
 */
export interface Alignment {
  readonly encoder: AlignmentEncoder | readonly AlignmentEncoder[]
  /** Default: the model's `alignDepth`, at most its last block. */
  readonly depth?: number
  readonly weight?: number
  /** How projections are compared with features: REPA's cosine, or NT-Xent. */
  readonly loss?: 'cosine' | 'nt-xent'
  /** Of NT-Xent. */
  readonly temperature?: number
  /** What projects the hidden states: REPA's MLP or iREPA's convolution. Default: the model's own setting. */
  readonly projector?: 'mlp' | 'conv'
  /** iREPA's spatial normalisation of the features: how much of their mean is taken off. Default: none. */
  readonly spatialNorm?: number
  /** Compares the attention of some blocks with the first encoder's too (HASTE). */
  readonly attention?: AttentionAlignment | undefined
}

export interface ClassTokenDenoising {
  /** Of its loss. REG's code has 0.03. */
  readonly weight: number
}

/** What makes a batch's latents: an `Autoencoder`. */
export interface BatchEncoder extends LatentMaker {
  /** The trainer lets it compute in its own precision, and leaves it so: what else it makes or decodes is then of that precision. */
  computeIn(dtype: ComputeDType): void
  /** u8 [B, 3, S, S] → f32 [B, 2C, h, w], means and deviations, or points [B, C, h, w]. Enqueues only. */
  encodeImages(images: Tensor): Tensor
}

/** What is left out is as in `REFERENCE_DEFAULTS`, unless its own line says otherwise. */
export interface TrainerOptions extends Partial<Omit<AdamWOptions, 'undecayed' | 'late'>> {
  /** Trained in place; gains projectors for the alignment's encoders where it has none. */
  readonly model: AnyTransformer
  readonly data: Dataset
  /**
   * Makes the latents of every batch of its images, on the model's device and in its precision, instead of those that the data hold: an
   * `Autoencoder`, which stays the caller's to dispose.
   */
  readonly autoencoder?: BatchEncoder | undefined
  /** Of a model of text: makes the hidden states of the captions, which the data must have. It stays the caller's to dispose. */
  readonly captionEncoder?: CaptionEncoder | undefined
  /** None: the model's plain objective. */
  readonly align?: Alignment
  /** Aligns the model with its own average (SRA). The model gains a head for it where it has none. */
  readonly selfAlign?: SelfAlignment
  /** How the weights of `align` and `selfAlign` run. */
  readonly alignSchedule?: AlignmentSchedule
  /** Pushes the samples of a batch apart. */
  readonly disperse?: Dispersive
  /** Pushes every prediction away from what other samples' aim at. SiT only. */
  readonly contrast?: ContrastiveFlow
  /** Lets tokens go past some of the blocks, others at every step: cheaper steps. */
  readonly route?: TokenRouting
  /**
   * Denoises the first encoder's class token along with the image (REG), as one more token; `align` then compares with the class tokens
   * too. The model, a SiT, gains what it takes where it has it not.
   */
  readonly classToken?: ClassTokenDenoising
  /** How the learning rate runs; `learningRate` is the whole one. Default: it is the same at every step. */
  readonly learningRateSchedule?: LearningRateSchedule | undefined
  /** Samples of a step, in all processes together. */
  readonly batch: number
  /** The processes that share every step's batch, each with a model of its own that becomes the same. Default: this one alone. */
  readonly world?: World
  /**
   * Equal passes that a step's batch (a process's part of it) is cut into, whose gradients are averaged: a pass takes the memory of its samples.
   * What is drawn for a sample does not depend on it; results differ by the rounding of the sums.
   */
  readonly accumulate?: number
  /** What the backward pass computes again instead of keeping it, with the same bits in less memory. Default: nothing. */
  readonly recompute?: Recomputation
  readonly precision?: Precision
  /**
   * On a GPU: record the step once and replay it as one call, which frees the host where steps are short (small models and batches).
   * The results have the same bits; the step's memory stays taken between steps.
   */
  readonly cudaGraph?: boolean
  /** SiT's interpolant. */
  readonly path?: InterpolantPath
  /** How SiT's times are drawn. */
  readonly weighting?: TimeWeighting
  /** Each of SiT's times t becomes timeShift t / (1 − t + timeShift t): above 1 more noise, 1: as they are drawn. */
  readonly timeShift?: number
  /** Of 1 − the cosine of a SiT's velocity over each pixel's channels (LightningDiT); 0: there is none. */
  readonly velocityCosineWeight?: number
  /** Takes each image's mirror image in its place with probability ½. Default: where the data were prepared for it. */
  readonly flip?: boolean
  /** What a checkpoint keeps as the run's configuration. */
  readonly configuration?: CheckpointState['configuration']
  readonly seed?: number
}

/** One training step, as seen some steps later: the host does not wait for the device. */
export interface TrainingStep extends StepTiming {
  /** From 1. */
  readonly index: number
  readonly epoch: number
  /** denoising [+ vb] + weight · alignment [+ those of the other losses] [− that of contrastive]. */
  readonly loss: number
  readonly denoising: number
  /** DiT's variational bound, in bits a dimension; undefined where the objective has none. */
  readonly vb: number | undefined
  /** In [0, 2]: 1 − the cosine of the velocity; undefined where it is no loss. */
  readonly velocityCosine: number | undefined
  /** In [−1, 1] for the cosine; undefined without encoders, and once the alignment is over. */
  readonly alignment: number | undefined
  /** That the alignment had in this step's loss; undefined without encoders. */
  readonly alignWeight: number | undefined
  /** At least 0: the cross-entropy of the model's attention with the encoder's; undefined where it is not compared, and once the alignment is over. */
  readonly attentionAlignment: number | undefined
  /** The distance from the averaged model; undefined without self-alignment, and once it is over. */
  readonly selfAlignment: number | undefined
  /** That the self-alignment had in this step's loss; undefined without. */
  readonly selfAlignWeight: number | undefined
  /** At most 0: the log of the samples' mean similarity; undefined where nothing is dispersed. */
  readonly dispersive: number | undefined
  /** The mean squared distance from what other samples' predictions aim at; undefined where flows are not contrasted. */
  readonly contrastive: number | undefined
  /** Mean squared error of the class token's velocity; undefined where none is denoised. */
  readonly classToken: number | undefined
  /** Before clipping. */
  readonly gradNorm: number
  readonly learningRate: number
  /** False: the gradient held an infinity or NaN, and weights, moments and EMA were left alone. */
  readonly finite: boolean
  /** Steps left out so far. */
  readonly skipped: number
  /** What the losses multiply the next gradient by; undefined without loss scaling. */
  readonly lossScale: number | undefined
}

export interface RunOptions {
  /** Total number of steps, those before a resumption included. */
  readonly steps: number
  readonly signal?: AbortSignal
}
