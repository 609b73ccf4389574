/** A Trainer's options with nothing left open, once all that they ask for has been looked at. */
import type { Dataset } from '../data/dataset.ts'
import { requireMirrorImages } from '../data/loader.ts'
import { ALONE } from '../distributed/world.ts'
import { type AlignmentEncoder, isCached } from './cached-encoder.ts'
import { requireLearningRateSchedule } from './learning-rate.ts'
import { requireObjective } from './objectives.ts'
import { type AdamWOptions, adamWSettings } from './optimizer.ts'
import { optimizerOptionsOf } from './optimizer-settings.ts'
import { defaultPrecision, type PrecisionPolicy, precisionPolicy } from './precision.ts'
import { REFERENCE_DEFAULTS } from './reference-defaults.ts'
import {
  attentionOf,
  requireBlocks,
  requireCaptions,
  requireCapturable,
  requireClassToken,
  requireFittingData,
  requireImages,
  requireIndependentPasses,
  requirePairs,
  requireRoute,
  type WeightedAttention,
} from './requirements.ts'
import type { Alignment, TrainerOptions } from './trainer-options.ts'
import { requireTrainerOptions } from './trainer-settings.ts'

type Defaulted =
  | 'accumulate'
  | 'alignSchedule'
  | 'configuration'
  | 'cudaGraph'
  | 'flip'
  | 'path'
  | 'recompute'
  | 'seed'
  | 'timeShift'
  | 'velocityCosineWeight'
  | 'weighting'
  | 'world'

/** What a Trainer does. Its settings have the names of a run's configuration where that has them. */
export interface ResolvedTrainerOptions
  extends Omit<TrainerOptions, 'align' | 'data' | 'precision' | Defaulted | keyof AdamWOptions>,
    Required<Pick<TrainerOptions, Defaulted>>,
    AdamWOptions {
  /** With the latents that steps are of: those that `autoencoder` makes, where there is one. */
  readonly data: Dataset
  readonly precision: PrecisionPolicy
  /** None: the model is not aligned with any. */
  readonly encoders: readonly AlignmentEncoder[]
  /** The block after which it is. */
  readonly alignDepth: number
  readonly alignWeight: number
  readonly alignLoss: NonNullable<Alignment['loss']>
  /** Of NT-Xent. */
  readonly alignTemperature: number
  readonly alignSpatialNorm: number | undefined
  readonly projector: NonNullable<Alignment['projector']>
  /** What is compared of the model's attention and the first encoder's. */
  readonly attention: WeightedAttention | undefined
}

/**
 * What is left out becomes REPA's, or the model's own, or the device's; nothing is changed and no memory is taken.
 *
 * @throws {ConfigurationError} for options that are none; {RangeError} where model, data and options do not go together
 */
export function resolveTrainerOptions(options: TrainerOptions): ResolvedTrainerOptions {
  requireTrainerOptions(options)
  const { model, autoencoder, captionEncoder, align, selfAlign, disperse, contrast, route, classToken, batch } = options
  const {
    accumulate = REFERENCE_DEFAULTS.accumulate,
    cudaGraph = REFERENCE_DEFAULTS.cudaGraph,
    path = REFERENCE_DEFAULTS.path,
    weighting = REFERENCE_DEFAULTS.weighting,
    timeShift = REFERENCE_DEFAULTS.timeShift,
    velocityCosineWeight = REFERENCE_DEFAULTS.velocityCosineWeight,
    seed = REFERENCE_DEFAULTS.seed,
    world = ALONE,
    recompute = 'none',
    alignSchedule = {},
    learningRateSchedule,
    configuration = null,
  } = options
  const data = autoencoder ? options.data.encoded(autoencoder) : options.data
  const { flip = data.flip } = options
  const encoders = align ? [align.encoder].flat() : []
  const precision = precisionPolicy(options.precision ?? defaultPrecision(model.device), model.device)
  requireFittingData(model, data, batch)
  requireImages(data, options)
  requireCaptions(model, data, options)
  if (flip) requireMirrorImages(data)
  requireIndependentPasses(model, { batch, accumulate, world, align, disperse })
  requirePairs(options)
  requireBlocks(model, options)
  requireRoute(model, options)
  requireClassToken(model, options)
  const attention = attentionOf(options)
  requireCapturable(model, { cudaGraph, alignSchedule })
  const adamW = adamWSettings({
    ...optimizerOptionsOf(options),
    lossScale: options.lossScale ?? precision.lossScale,
  })
  requireLearningRateSchedule(adamW.learningRate, learningRateSchedule ?? {})
  requireObjective(model, options)
  for (const encoder of encoders) if (!isCached(encoder)) encoder.requireGrid?.(model.grid)
  const { config } = model
  return {
    ...adamW,
    model,
    data,
    autoencoder,
    captionEncoder,
    encoders,
    alignDepth: align?.depth ?? Math.min(config.alignDepth, config.depth),
    alignWeight: align?.weight ?? REFERENCE_DEFAULTS.alignWeight,
    alignLoss: align?.loss ?? REFERENCE_DEFAULTS.alignLoss,
    alignTemperature: align?.temperature ?? REFERENCE_DEFAULTS.alignTemperature,
    alignSpatialNorm: align?.spatialNorm,
    projector: align?.projector ?? config.projector,
    attention,
    alignSchedule,
    selfAlign,
    disperse,
    contrast,
    route,
    classToken,
    learningRateSchedule,
    batch,
    accumulate,
    world,
    recompute,
    precision,
    cudaGraph,
    path,
    weighting,
    timeShift,
    velocityCosineWeight,
    flip,
    seed,
    configuration,
  }
}
