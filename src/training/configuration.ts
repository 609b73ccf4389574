import { isDeepStrictEqual } from 'node:util'
import * as z from 'zod'
import { ENCODER_NAMES } from '../alignment/encoder-names.ts'
import type { TransformerPreset } from '../models/presets.ts'
import type { SiTConfig } from '../models/sit.ts'
import { blockSettings, ddtHeadSetting, textSetting } from '../models/transformer-config.ts'
import {
  type AnyTransformerConfig,
  TRANSFORMER_PRESETS,
  transformerOfPreset,
  UNKNOWN_KIND,
} from '../models/transformer-kinds.ts'
import { RECOMPUTE_SETTINGS } from '../tensor/recomputation.ts'
import { PRECISIONS } from './precision.ts'
import { REFERENCE_DEFAULTS } from './reference-defaults.ts'

const positive = z.int().positive()

const sizes = {
  depth: positive,
  hidden: positive,
  heads: positive,
  patch: positive,
  mlpRatio: z.number().positive().optional(),
  qkNorm: z.boolean().optional(),
  learnSigma: z.boolean().optional(),
  norm: blockSettings.norm.unwrap().optional(),
  ffn: blockSettings.ffn.unwrap().optional(),
  rope: blockSettings.rope.unwrap().optional(),
}

const modelSchema = z.union([
  z.enum(Object.keys(TRANSFORMER_PRESETS) as [TransformerPreset, ...TransformerPreset[]]),
  z.discriminatedUnion(
    'kind',
    [
      z.strictObject({
        kind: z.literal('SiT'),
        ...sizes,
        convention: z.enum(['repa', 'sit']).optional(),
        ...ddtHeadSetting,
        ...textSetting,
      }),
      z.strictObject({ kind: z.literal('DiT'), ...sizes }),
    ],
    { error: UNKNOWN_KIND },
  ),
])

/** How a training run goes: one schema for the JSON file, the command line and the library. */
export const trainingSchema = z.strictObject({
  /** A preset, or free sizes. */
  model: modelSchema.default('SiT-B/2'),
  /**
   * Encoders to align with; none: no alignment. `file` holds the weights, except for the built-in `hog`, and `sha256` is what its bytes
   * must be; a run notes what they are.
   */
  encoders: z
    .array(
      z.strictObject({
        name: z.enum(ENCODER_NAMES),
        file: z.string().optional(),
        sha256: z.hash('sha256').optional(),
      }),
    )
    .default([]),
  /**
   * Of a model of text: file or folder of what encodes the captions. `digest` is what its weights, tokenizer and config.json must be
   * (`captionEncoderDigest`); a run notes what they are.
   */
  captionEncoder: z.strictObject({ file: z.string(), digest: z.hash('sha256').optional() }).optional(),
  /** SHA-256 of the captions of a run of text: written when it begins, and held to when it goes on. */
  captionsDigest: z.hash('sha256').optional(),
  /** Weights that the run begins from: a run, a checkpoint's folder or a file. Default: the reference's initialisation. */
  init: z.string().optional(),
  steps: positive.default(400_000),
  batch: positive.default(256),
  /**
   * Equal passes in which a step goes through its batch, their gradients averaged: memory of a pass, work of a batch. Results differ by
   * the rounding of the sums.
   */
  accumulate: positive.default(REFERENCE_DEFAULTS.accumulate),
  /**
   * What the backward pass computes again instead of keeping it: the same bits in less memory. `auto`: nothing, unless a step would not
   * fit into the device's memory otherwise.
   */
  recompute: z.enum(RECOMPUTE_SETTINGS).default('auto'),
  learningRate: z.number().positive().default(REFERENCE_DEFAULTS.learningRate),
  /** Steps in which the learning rate rises along a line. */
  learningRateWarmup: z.int().min(0).default(0),
  /** How the learning rate falls: not at all, or along a line or a half cosine. */
  learningRateDecay: z.enum(['none', 'linear', 'cosine']).default('none'),
  /** Step up to which it is whole. Default: the end of the warm-up. */
  learningRateDecayFrom: z.int().min(0).optional(),
  /** Step from which on it is `learningRateFinal`. */
  learningRateDecayUntil: positive.optional(),
  /** Default: 0. */
  learningRateFinal: z.number().min(0).optional(),
  betas: z.tuple([z.number().min(0).lt(1), z.number().min(0).lt(1)]).default([...REFERENCE_DEFAULTS.betas]),
  epsilon: z.number().positive().default(REFERENCE_DEFAULTS.epsilon),
  weightDecay: z.number().min(0).default(REFERENCE_DEFAULTS.weightDecay),
  /** Global L2 norm to which gradients are clipped. */
  maxGradNorm: z.number().positive().default(REFERENCE_DEFAULTS.maxGradNorm),
  emaDecay: z.number().min(0).lt(1).default(REFERENCE_DEFAULTS.emaDecay),
  /** Default: what the device is for, bf16 on a GPU and fp32 on the CPU; a run's config.json says which it was. */
  precision: z.enum(PRECISIONS).optional(),
  /** Record the step once and replay it: a GPU's matter, and without influence on the results. */
  cudaGraph: z.boolean().default(REFERENCE_DEFAULTS.cudaGraph),
  /** Weight of the alignment loss (proj_coeff). */
  alignWeight: z.number().min(0).default(REFERENCE_DEFAULTS.alignWeight),
  /** Block whose output is aligned, from 1. Default: 8 for presets, a third of the depth (at most 8) for free sizes. */
  alignDepth: positive.optional(),
  /** How projections are compared with an encoder's features: REPA's cosine, or NT-Xent. */
  alignLoss: z.enum(['cosine', 'nt-xent']).default(REFERENCE_DEFAULTS.alignLoss),
  /** Of NT-Xent. */
  alignTemperature: z.number().positive().default(REFERENCE_DEFAULTS.alignTemperature),
  /** Steps with alignment, after which there is none (HASTE). Default: all. */
  alignUntil: positive.optional(),
  /** How the weight gets to 0 at `alignUntil`. */
  alignDecay: z.enum(['none', 'linear', 'cosine']).default('none'),
  /** iREPA's spatial normalisation of the features: how much of their mean is taken off. Default: none. */
  alignSpatialNorm: z.number().min(0).optional(),
  /** Of the cross-entropy of the model's attention with the first encoder's (HASTE); 0: it is not compared. */
  alignAttentionWeight: z.number().min(0).default(0),
  /** Blocks that are compared: the model's up to `alignDepth`, the encoder's last. Default: 4, or as many as both have. */
  alignAttentionBlocks: positive.optional(),
  /** Heads of each. Default: 12, or as many as both have. */
  alignAttentionHeads: positive.optional(),
  /** REPA's MLP, or iREPA's convolution. */
  projector: z.enum(['mlp', 'conv']).default('mlp'),
  projectorWidth: positive.default(2048),
  /** Of the loss that pushes the samples of a batch apart; 0: there is none. */
  dispersiveWeight: z.number().min(0).default(0),
  dispersiveTemperature: z.number().positive().default(0.5),
  /** Block whose output is dispersed, from 1. Default: at a quarter of the depth. */
  dispersiveDepth: positive.optional(),
  /**
   * Of the distance from what another sample's velocity aims at, which is subtracted (contrastive flow matching); 0: there is none. From 1 on
   * the loss would have no minimum.
   */
  contrastiveWeight: z.number().min(0).lt(1).default(0),
  /**
   * Of 1 − the cosine between each pixel's velocity, a vector of the channels, and what is predicted of it (LightningDiT); 0: there is none.
   * SiT only.
   */
  velocityCosineWeight: z.number().min(0).default(REFERENCE_DEFAULTS.velocityCosineWeight),
  /** Of the alignment with the model's own average (SRA); 0: there is none. */
  selfAlignWeight: z.number().min(0).default(0),
  /** Block that is aligned with it, from 1. Default: as `alignDepth`. */
  selfAlignDepth: positive.optional(),
  /** Block of the average. Default: at five sevenths of the depth, 20 of XL's 28. */
  selfAlignTeacherDepth: positive.optional(),
  /** How much earlier, of the whole, the average's time is at most. */
  selfAlignTimeOffset: z.number().min(0).max(1).default(0.2),
  /** Share of the tokens that go past a part of the blocks (TREAD); 0: none does. */
  routeTokens: z.number().min(0).lt(1).default(0),
  /** First block that they go past, from 1. Default: 3. */
  routeFrom: positive.optional(),
  /** Last block that they go past. Default: the last but three. */
  routeTo: positive.optional(),
  /** Of the loss of an encoder's class token that is denoised along with the image (REG); 0: there is none. */
  classTokenWeight: z.number().min(0).default(0),
  path: z.enum(['linear', 'cosine']).default(REFERENCE_DEFAULTS.path),
  weighting: z.enum(['uniform', 'lognormal']).default(REFERENCE_DEFAULTS.weighting),
  /** Each of SiT's times t becomes S t / (1 − t + S t): above 1 towards noise, as latents of many numbers want it (SD3, RAE). */
  timeShift: z.number().positive().default(REFERENCE_DEFAULTS.timeShift),
  /** Takes each image's mirror image in its place with probability ½. Default: where the data were prepared for it. */
  flip: z.boolean().optional(),
  /** Probability with which a label is replaced by the null class, or a caption by the empty one. */
  classDropout: z.number().min(0).max(1).default(0.1),
  seed: z.int().min(0).default(REFERENCE_DEFAULTS.seed),
  /**
   * File or folder of the autoencoder that decodes the grids of samples, and makes the latents where `encodeLatents` says so; without, grids
   * are a linear preview of the latents.
   */
  autoencoder: z.string().optional(),
  /** Makes the latents of every batch of its images by that autoencoder, instead of taking those that the data hold. */
  encodeLatents: z.boolean().default(false),
  /**
   * What the latents are made or standardised by, of a run that does either: written when it begins, and held to when it goes on. Where an
   * autoencoder has standardised them, by its statistics, beside the digest of its files where the run makes them.
   */
  latentsDigest: z
    .union([z.hash('sha256'), z.strictObject({ files: z.hash('sha256').optional(), statistics: z.hash('sha256') })])
    .optional(),
  checkpointEvery: positive.default(50_000),
  /**
   * Steps between checkpoints that are only there to go on from after a kill, as are those where a run is stopped then: each is removed once
   * a later one is whole. Default: there are none.
   */
  resumeEvery: positive.optional(),
  sampleEvery: positive.default(10_000),
  /** The grids of samples during training, drawn from the EMA weights. */
  samples: z
    .strictObject({
      count: positive.default(16),
      steps: positive.default(50),
      guidanceScale: z.number().min(1, 'expected 1, which is no guidance, or more').default(4),
    })
    .prefault({}),
})

export type TrainingConfiguration = z.output<typeof trainingSchema>
export type TrainingOptions = z.input<typeof trainingSchema>

/** The block after which hidden states are aligned. */
export function alignDepthOf(configuration: Pick<TrainingConfiguration, 'model' | 'alignDepth'>): number {
  const { model, alignDepth } = configuration
  if (alignDepth !== undefined) return alignDepth
  return typeof model === 'string' ? 8 : Math.min(8, Math.max(1, Math.round(model.depth / 3)))
}

/** The setting `model`. */
export type ModelSetting = TrainingConfiguration['model']

/** What of a model its setting says, as far as it does: a configuration of one has more. */
type SettledModel = Pick<AnyTransformerConfig, 'kind' | 'depth' | 'hidden' | 'heads' | 'patch'> &
  Partial<Pick<AnyTransformerConfig, 'mlpRatio' | 'qkNorm' | 'learnSigma' | 'norm' | 'ffn' | 'rope'>> &
  Partial<Pick<SiTConfig, 'convention' | 'ddtHead' | 'text'>>

/** All of it, by the names and in the order of the schema. */
const settled = ({
  kind,
  depth,
  hidden,
  heads,
  patch,
  mlpRatio = 4,
  qkNorm = false,
  learnSigma = kind === 'DiT',
  norm = 'layerNorm',
  ffn = 'mlp',
  rope = false,
  convention = 'repa',
  ddtHead,
  text,
}: SettledModel) => ({
  kind,
  depth,
  hidden,
  heads,
  patch,
  mlpRatio,
  qkNorm,
  learnSigma,
  norm,
  ffn,
  rope,
  convention,
  ddtHead,
  text,
})

/** What a preset's name stands for; free sizes as they are. */
export function sizesOf<Sizes extends object>(
  model: TransformerPreset | Sizes,
): Sizes | ReturnType<typeof transformerOfPreset> {
  return typeof model === 'string' ? transformerOfPreset(model) : model
}

/**
 * The one spelling of the setting `model` of all that give the same model: a preset's name where there is one, or the sizes and what differs
 * from the usual.
 *
 * @param model a model's configuration, or any setting that gives it
 */
export function modelSetting(model: AnyTransformerConfig | ModelSetting): ModelSetting {
  const all = settled(sizesOf(model))
  const isOf = (preset: TransformerPreset) => isDeepStrictEqual(settled(transformerOfPreset(preset)), all)
  const preset = (Object.keys(TRANSFORMER_PRESETS) as TransformerPreset[]).find(isOf)
  if (preset) return preset
  const { kind, depth, hidden, heads, patch } = all
  const sizes = { kind, depth, hidden, heads, patch }
  const usual: Readonly<Record<string, unknown>> = settled(sizes)
  const unusual = Object.entries(all).filter(([key, value]) => value !== usual[key])
  return { ...sizes, ...Object.fromEntries(unusual) }
}

/** The same training with its model's one spelling. The block that is aligned stays, whose default goes by the spelling. */
export function withModelSetting(training: TrainingConfiguration): TrainingConfiguration {
  const same = { ...training, model: modelSetting(training.model) }
  const alignDepth = alignDepthOf(training)
  return alignDepthOf(same) === alignDepth ? same : { ...same, alignDepth }
}
