import * as z from 'zod'
import { ENCODER_NAMES, type EncoderName } from '../alignment/encoder-names.ts'
import { parseConfiguration } from '../configuration/parse.ts'
import { type AnyTransformerConfig, textOf } from '../models/transformer-kinds.ts'
import {
  modelSetting,
  type TrainingConfiguration,
  type TrainingOptions,
  trainingSchema,
} from '../training/configuration.ts'

const probability = z.number().min(0).max(1)

/** The settings of REPA's train.py and train_t2i.py, and of REG's, that this package knows, as a checkpoint's `args` have them. */
export const referenceArgumentsSchema = z.object({
  model: z.string().nullish(),
  data_dir: z.string().nullish(),
  num_classes: z.int().positive().nullish(),
  encoder_depth: z.int().positive().nullish(),
  /** The model's constructor's; the reference's presets set it, and only files that were written here say it. */
  num_heads: z.int().positive().nullish(),
  /** Likewise; the reference's own is always 0.1. */
  class_dropout_prob: probability.nullish(),
  /** Drops labels a second time, before the model does, where `legacy` is set; else nothing reads it. */
  cfg_prob: probability.nullish(),
  legacy: z.boolean().nullish(),
  enc_type: z.string().nullish(),
  /** Of one pass, of which a step makes `gradient_accumulation_steps`. */
  batch_size: z.int().positive().nullish(),
  gradient_accumulation_steps: z.int().positive().nullish(),
  max_train_steps: z.int().positive().nullish(),
  checkpointing_steps: z.int().positive().nullish(),
  sampling_steps: z.int().positive().nullish(),
  learning_rate: z.number().positive().nullish(),
  adam_beta1: z.number().nullish(),
  adam_beta2: z.number().nullish(),
  adam_epsilon: z.number().positive().nullish(),
  adam_weight_decay: z.number().min(0).nullish(),
  max_grad_norm: z.number().positive().nullish(),
  seed: z.int().nonnegative().nullish(),
  path_type: z.enum(['linear', 'cosine']).nullish(),
  weighting: z.enum(['uniform', 'lognormal']).nullish(),
  proj_coeff: z.number().min(0).nullish(),
  /** REG's, the weight of the class token's loss. */
  cls: z.number().min(0).nullish(),
  mixed_precision: z.string().nullish(),
})

export type ReferenceArguments = z.output<typeof referenceArgumentsSchema>

/** REPA's AdamW settings as its param_groups have them; they count more than `args`. */
export interface ReferenceParameterGroup {
  readonly lr: number
  readonly betas: readonly [number, number]
  readonly eps: number
  readonly weight_decay: number
}

/** The run's configuration that goes on as the reference's arguments say. */
export function trainingConfigurationOf(
  args: ReferenceArguments,
  group: ReferenceParameterGroup | undefined,
  model: AnyTransformerConfig,
  path: string,
  notes: string[],
): TrainingConfiguration {
  const accumulate = args.gradient_accumulation_steps ?? 1
  const options: TrainingOptions = withoutUndefined({
    model: modelSetting(model),
    encoders: encodersOf(args, model, notes),
    steps: args.max_train_steps ?? undefined,
    batch: args.batch_size == null ? undefined : args.batch_size * accumulate,
    accumulate,
    learningRate: group?.lr ?? args.learning_rate ?? undefined,
    betas: group ? [...group.betas] : pair(args.adam_beta1, args.adam_beta2),
    epsilon: group?.eps ?? args.adam_epsilon ?? undefined,
    weightDecay: group?.weight_decay ?? args.adam_weight_decay ?? undefined,
    maxGradNorm: args.max_grad_norm ?? undefined,
    alignWeight: args.proj_coeff ?? undefined,
    alignDepth: model.alignDepth,
    projectorWidth: model.projectorWidth,
    classTokenWeight: classTokenWeightOf(args, model, notes),
    path: args.path_type ?? undefined,
    weighting: args.weighting ?? undefined,
    classDropout: model.classDropout,
    seed: args.seed ?? undefined,
    checkpointEvery: args.checkpointing_steps ?? undefined,
    sampleEvery: args.sampling_steps ?? undefined,
  })
  if (textOf(model)) {
    notes.push(
      "The file does not tell what encodes its captions: name it by --caption-encoder; REPA took openai/clip-vit-large-patch14's.",
    )
  }
  if (args.mixed_precision && args.mixed_precision !== 'no') {
    notes.push(`The reference trained in ${args.mixed_precision}; the configuration says fp32, which every device has.`)
  }
  return parseConfiguration(trainingSchema, options, `${path}: args`)
}

/** `cfg_prob` where it is not given (train.py). */
const CFG_PROB = 0.1

/** With which probability the reference's training dropped the labels, or the captions, of a model whose shapes tell `model`. */
export function classDropoutOf(args: ReferenceArguments, model: AnyTransformerConfig, notes: string[]): number {
  if (model.classDropout === 0) return 0
  const own = args.class_dropout_prob ?? model.classDropout
  // Captions are dropped by dataset.py alone, and train_t2i.py reads `legacy` no more than `cfg_prob`.
  if (!args.legacy || textOf(model)) return own
  const before = args.cfg_prob ?? CFG_PROB
  const both = before + own - before * own
  notes.push(
    `The reference's training dropped labels twice, by --cfg-prob ${before} and by ${own} (--legacy): the configuration says ${both}.`,
  )
  return both
}

/** The reverse: what the reference's scripts would have been called with. A run without a configuration gives its model. */
export function referenceArgumentsOf(
  configuration: unknown,
  model: AnyTransformerConfig,
  seed: number,
): Record<string, string | number | boolean | null> {
  const stored = z.object({ data: z.string(), training: trainingSchema }).safeParse(configuration)
  const training = stored.success ? stored.data.training : undefined
  return {
    ...(training && {
      data_dir: stored.data!.data,
      enc_type: training.encoders.map(({ name }) => name).join(','),
      batch_size: training.batch / training.accumulate,
      gradient_accumulation_steps: training.accumulate,
      max_train_steps: training.steps,
      checkpointing_steps: training.checkpointEvery,
      sampling_steps: training.sampleEvery,
      learning_rate: training.learningRate,
      adam_beta1: training.betas[0],
      adam_beta2: training.betas[1],
      adam_epsilon: training.epsilon,
      adam_weight_decay: training.weightDecay,
      max_grad_norm: training.maxGradNorm,
      mixed_precision: { fp32: 'no', tf32: 'no', bf16: 'bf16', fp16: 'fp16' }[training.precision ?? 'fp32'],
      path_type: training.path,
      weighting: training.weighting,
      proj_coeff: training.alignWeight,
      ...(training.classTokenWeight > 0 && { cls: training.classTokenWeight }),
      model: typeof training.model === 'string' ? training.model : null,
    }),
    num_classes: textOf(model) ? null : model.classes,
    num_heads: model.heads,
    class_dropout_prob: model.classDropout,
    encoder_depth: model.alignDepth,
    qk_norm: model.qkNorm,
    resolution: model.inputSize[0] * LATENT_PIXELS,
    prediction: 'v',
    cfg_prob: model.classDropout,
    seed,
  }
}

/** Pixels of an image per latent of the SD autoencoder, along one axis. */
const LATENT_PIXELS = 8

function encodersOf(args: ReferenceArguments, model: AnyTransformerConfig, notes: string[]): { name: EncoderName }[] {
  if (model.alignWidths.length === 0) return []
  const names = (args.enc_type ?? '').split(',').filter((name) => name !== '' && name !== 'None')
  const known = names.filter((name): name is EncoderName => (ENCODER_NAMES as readonly string[]).includes(name))
  if (known.length === model.alignWidths.length) return known.map((name) => ({ name }))
  const said = names.length === 0 ? 'does not tell' : `says ${names.join(', ')} for`
  notes.push(
    `The file ${said} the encoders of its projectors (features of ${model.alignWidths.join(', ')}); name each by --encoder.`,
  )
  return []
}

/** REG's own. */
const CLASS_TOKEN_WEIGHT = 0.03

function classTokenWeightOf(
  args: ReferenceArguments,
  model: AnyTransformerConfig,
  notes: string[],
): number | undefined {
  if (model.kind !== 'SiT' || model.classTokenWidth === undefined) return undefined
  if (args.cls) return args.cls
  notes.push(
    `The file does not tell the weight of the class token's loss: ${CLASS_TOKEN_WEIGHT} assumed; --class-token-weight sets it.`,
  )
  return CLASS_TOKEN_WEIGHT
}

function pair(first: number | null | undefined, second: number | null | undefined): [number, number] | undefined {
  return first == null || second == null ? undefined : [first, second]
}

function withoutUndefined<T extends object>(value: T): T {
  return Object.fromEntries(Object.entries(value).filter(([, item]) => item !== undefined)) as T
}
