import * as z from 'zod'
import { ENCODER_NAMES, type EncoderName } from '../alignment/encoder-names.ts'
import { parseConfiguration } from '../configuration/parse.ts'
import { SCRIPT_PATHS } from '../models/script-arguments.ts'
import { modelStatement } from '../models/stated-model.ts'
import { type AnyTransformerConfig, textOf } from '../models/transformer-kinds.ts'
import { type TrainingConfiguration, type TrainingOptions, trainingSchema } from '../training/configuration.ts'
import { statedTraining, TRAINING_STATEMENT } from '../training/stated-training.ts'
import { settingsOf } from './model-settings.ts'

const probability = z.number().min(0).max(1)

/**
 * The settings of REPA's train.py and train_t2i.py, of REG's, and of DiT's and SiT's own, that this package knows, as a checkpoint's `args`
 * have them.
 */
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
  /** DiT's and SiT's own, of a whole step. */
  global_batch_size: z.int().positive().nullish(),
  global_seed: z.int().nonnegative().nullish(),
  ckpt_every: z.int().positive().nullish(),
  sample_every: z.int().positive().nullish(),
  path_type: z.enum(Object.keys(SCRIPT_PATHS)).nullish(),
  /** SiT's own can learn other things than velocities, which no run here goes on to learn. */
  prediction: z.enum(['v', 'velocity']).nullish(),
  weighting: z.enum(['uniform', 'lognormal']).nullish(),
  proj_coeff: z.number().min(0).nullish(),
  /** REG's, the weight of the class token's loss. */
  cls: z.number().min(0).nullish(),
  mixed_precision: z.string().nullish(),
  allow_tf32: z.boolean().nullish(),
  [TRAINING_STATEMENT]: z.string().nullish(),
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
  const stated = statedTraining(args, path)
  if (stated) return { ...stated, seed: args.seed ?? stated.seed }
  const accumulate = args.gradient_accumulation_steps ?? 1
  const options: TrainingOptions = withoutUndefined({
    encoders: encodersOf(args, model, notes),
    ...settingsOf(model, { classTokenWeight: args.cls }, notes),
    steps: args.max_train_steps ?? undefined,
    batch: args.batch_size == null ? (args.global_batch_size ?? undefined) : args.batch_size * accumulate,
    accumulate,
    learningRate: group?.lr ?? args.learning_rate ?? undefined,
    betas: group ? [...group.betas] : pair(args.adam_beta1, args.adam_beta2),
    epsilon: group?.eps ?? args.adam_epsilon ?? undefined,
    weightDecay: group?.weight_decay ?? args.adam_weight_decay ?? undefined,
    maxGradNorm: args.max_grad_norm ?? undefined,
    alignWeight: args.proj_coeff ?? undefined,
    path: args.path_type == null ? undefined : SCRIPT_PATHS[args.path_type],
    weighting: args.weighting ?? undefined,
    seed: args.seed ?? args.global_seed ?? undefined,
    precision: precisionOf(args, notes),
    checkpointEvery: args.checkpointing_steps ?? args.ckpt_every ?? undefined,
    sampleEvery: args.sampling_steps ?? args.sample_every ?? undefined,
  })
  if (isOfDiTOrSiT(args)) {
    notes.push(
      "SiT's and DiT's own scripts clip no gradients, and here they are clipped to a norm of 1; `maxGradNorm` 1e30 clips none.",
    )
  }
  if (textOf(model)) {
    notes.push(
      "The file does not tell what encodes its captions: name it by `captionEncoder`; REPA took openai/clip-vit-large-patch14's.",
    )
  }
  return parseConfiguration(trainingSchema, options, `${path}: args`)
}

/** What a device computes in is not all that every device has: undefined leaves it to the one that goes on. */
function precisionOf(args: ReferenceArguments, notes: string[]): 'fp32' | undefined {
  const { mixed_precision: mixed } = args
  if (mixed != null && mixed !== 'no') {
    notes.push(
      `The reference trained in ${mixed}; here a GPU goes on in bf16 and a CPU in fp32, \`precision\` says otherwise.`,
    )
    return undefined
  }
  const isOwnScript = isOfDiTOrSiT(args)
  if (mixed == null && !isOwnScript) return undefined
  if (args.allow_tf32 || isOwnScript) {
    notes.push(
      'The reference let a GPU round the operands of products to tf32; the configuration says fp32, `precision` tf32 does so too.',
    )
  }
  return 'fp32'
}

/** Whether these are arguments of DiT's or SiT's own train.py, which computes in fp32 with products in tf32 and clips no gradients. */
function isOfDiTOrSiT({ global_batch_size: batch }: ReferenceArguments): boolean {
  return batch != null
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

/**
 * The reverse: what the reference's scripts would have been called with, and all of the model and its training, for those who read them here. A
 * run without a configuration gives its model.
 */
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
      ...(training.precision && {
        mixed_precision: { fp32: 'no', tf32: 'no', bf16: 'bf16', fp16: 'fp16' }[training.precision],
        allow_tf32: training.precision === 'tf32',
      }),
      path_type: training.path,
      weighting: training.weighting,
      proj_coeff: training.alignWeight,
      ...(training.classTokenWeight > 0 && { cls: training.classTokenWeight }),
      model: typeof training.model === 'string' ? training.model : null,
      [TRAINING_STATEMENT]: JSON.stringify(training),
    }),
    num_classes: textOf(model) ? null : model.classes,
    num_heads: model.heads,
    ...modelStatement(model),
    class_dropout_prob: model.classDropout,
    encoder_depth: model.alignDepth,
    qk_norm: model.qkNorm,
    ...(model.channels === SD_CHANNELS && { resolution: model.inputSize[0] * SD_LATENT_PIXELS }),
    prediction: 'v',
    cfg_prob: model.classDropout,
    seed,
  }
}

/** Of the SD autoencoder's latents, and how many pixels of an image each is along one axis. Of what others make, nothing here says how many. */
const [SD_CHANNELS, SD_LATENT_PIXELS] = [4, 8]

function encodersOf(args: ReferenceArguments, model: AnyTransformerConfig, notes: string[]): { name: EncoderName }[] {
  if (model.alignWidths.length === 0) return []
  const names = (args.enc_type ?? '').split(',').filter((name) => name !== '' && name !== 'None')
  const known = names.filter((name): name is EncoderName => (ENCODER_NAMES as readonly string[]).includes(name))
  if (known.length === model.alignWidths.length) return known.map((name) => ({ name }))
  const said = names.length === 0 ? 'does not tell' : `says ${names.join(', ')} for`
  notes.push(
    `The file ${said} the encoders of its projectors (features of ${model.alignWidths.join(', ')}); name each in \`encoders\`.`,
  )
  return []
}

function pair(first: number | null | undefined, second: number | null | undefined): [number, number] | undefined {
  return first == null || second == null ? undefined : [first, second]
}

function withoutUndefined<T extends object>(value: T): T {
  return Object.fromEntries(Object.entries(value).filter(([, item]) => item !== undefined)) as T
}
