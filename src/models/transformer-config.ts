/** The settings that DiT and SiT have in common. */
import * as z from 'zod'
import type { Norm } from '../native.ts'

const NORMS = ['layerNorm', 'rmsNorm'] as const satisfies readonly Norm[]
const FFNS = ['mlp', 'swiglu'] as const

/** How blocks compute, where they do not compute as DiT's: the improved backbone of LightningDiT (arXiv 2501.01423). */
export const blockSettings = {
  /** What reads the stream before a modulation: LayerNorm without parameters, or RMSNorm with a weight. Queries and keys have the same. */
  norm: z.enum(NORMS).default('layerNorm'),
  /** DiT's MLP with a GELU, or SwiGLU, as many parameters by a hidden width of two thirds. */
  ffn: z.enum(FFNS).default('mlp'),
  /** Rotary positions of queries and keys (RoPE), besides the fixed table that the tokens begin with. */
  rope: z.boolean().default(false),
}

const positive = z.int().positive()

/** Everything, but for the kind and what it adds, that fixes a diffusion transformer's parameters and computation. */
export const transformerSettings = {
  depth: positive,
  hidden: positive.refine((hidden) => hidden % 4 === 0, 'must be a multiple of 4 (sine-cosine positions)'),
  heads: positive,
  patch: positive,
  /** Of the latent (or image): [height, width], multiples of the patch. */
  inputSize: z.tuple([positive, positive]),
  channels: positive.default(4),
  classes: positive.default(1000),
  /** Hidden width of a block's MLP over `hidden`; of SwiGLU, half as much again as its own. */
  mlpRatio: z.number().positive().default(4),
  /** A norm of queries and keys over head_dim. */
  qkNorm: z.boolean().default(false),
  ...blockSettings,
  /**
   * Probability with which training replaces a label by the null class, or a caption by the empty one; 0 leaves the null class out of the
   * label table.
   */
  classDropout: z.number().min(0).max(1).default(0.1),
  /** Number of the block after which the hidden states are projected (encoder_depth), counted from 1. */
  alignDepth: positive.default(8),
  /** Feature width of each encoder that is aligned with (z_dims); empty: no alignment. */
  alignWidths: z.array(positive).default([]),
  /** What projects hidden states to features: REPA's MLP, or iREPA's 3 x 3 convolution on the grid of tokens. */
  projector: z.enum(['mlp', 'conv']).default('mlp'),
  /** Width of an MLP's two hidden layers (projector_dim). */
  projectorWidth: positive.default(2048),
  /** Whether the model has SRA's head, which maps hidden states to those of its own average. */
  selfAlignment: z.boolean().default(false),
}

const ddtHeadSchema = z.strictObject({ depth: positive, hidden: positive, heads: positive })

/** Sizes of the wide head of DiT-DH (RAE, arXiv 2510.11690), whose blocks are as the trunk's otherwise; of a SiT. */
export const ddtHeadSetting = {
  /** Left out: the model has none, and its time is embedded by DiT's sinusoids in place of RAE's. */
  ddtHead: ddtHeadSchema.optional(),
}

export type DdtHeadSettings = z.output<typeof ddtHeadSchema>

const textSchema = z.strictObject({
  /** Hidden states of a caption, as many as its encoder makes. */
  tokens: positive.default(77),
  /** Of each. Defaults are those of CLIP-L. */
  width: positive.default(768),
})

/** Captions in the place of classes: MMDiT (SD3, arXiv 2403.03206), as REPA's mmdit.py has it; of a SiT. */
export const textSetting = {
  /** Left out: the condition is a class. Else blocks are joint ones of text and image, and there are 0 classes. */
  text: textSchema.optional(),
}

export type TextSettings = z.output<typeof textSchema>

const settings = z.object(transformerSettings)

/** What the trunk is made from; each model's configuration has it, with a default of its own for `learnSigma`. */
export interface TransformerConfig extends z.output<typeof settings> {
  /** Whether the head makes twice the input's channels, the second half being about the variance (learn_sigma). */
  readonly learnSigma: boolean
  /** Width of the class token that is denoised along (REG); left out: there is none. */
  readonly classTokenWidth?: number | undefined
  readonly ddtHead?: DdtHeadSettings | undefined
  readonly text?: TextSettings | undefined
}

/** Rows and columns of a model's tokens. */
export function tokenGrid({
  inputSize: [height, width],
  patch,
}: Pick<TransformerConfig, 'inputSize' | 'patch'>): readonly [rows: number, columns: number] {
  return [height / patch, width / patch]
}

/** Hidden width of a block's FFN: rounded down where it is no whole number, as LightningDiT's code and DiT's have it. */
export function ffnWidth({ hidden, mlpRatio, ffn }: Pick<TransformerConfig, 'hidden' | 'mlpRatio' | 'ffn'>): number {
  const mlpWidth = Math.trunc(hidden * mlpRatio)
  return ffn === 'swiglu' ? Math.trunc((2 / 3) * mlpWidth) : mlpWidth
}

/** Adds an issue for every two settings that do not go together. */
export function requireConsistent(config: TransformerConfig, context: z.core.$RefinementCtx): void {
  const issue = (path: string, message: string) => context.addIssue({ code: 'custom', path: [path], message })
  const [height, width] = config.inputSize
  if (config.hidden % config.heads !== 0) {
    issue('heads', `${config.heads} heads do not divide the hidden width ${config.hidden}`)
  } else if (config.hidden / config.heads > 128) {
    issue('heads', `gives a head_dim of ${config.hidden / config.heads}; at most 128 is supported`)
  } else if (config.rope && (config.hidden / config.heads) % 4 !== 0) {
    issue(
      'rope',
      `turns pairs of rows and pairs of columns, and a head_dim of ${config.hidden / config.heads} is no multiple of 4`,
    )
  }
  if (config.ddtHead) requireConsistentHead(config, config.ddtHead, issue)
  requireConsistentCondition(config, issue)
  if (height % config.patch !== 0 || width % config.patch !== 0) {
    issue('patch', `a patch of ${config.patch} does not divide an input of ${height} x ${width}`)
  }
  if (config.alignWidths.length > 0 && config.alignDepth > config.depth) {
    issue('alignDepth', `block ${config.alignDepth} does not exist in a model of ${config.depth} blocks`)
  }
  if (config.classTokenWidth !== undefined && config.projector === 'conv') {
    issue('projector', 'conv reads the grid of tokens, and the class token stands in none; take mlp')
  }
}

function requireConsistentHead(
  { rope, learnSigma, classTokenWidth }: TransformerConfig,
  { hidden, heads }: DdtHeadSettings,
  issue: (path: string, message: string) => void,
): void {
  const headDim = hidden / heads
  if (!Number.isInteger(headDim)) issue('ddtHead', `has ${heads} heads, which do not divide its width ${hidden}`)
  else if (headDim > 128) issue('ddtHead', `has a head_dim of ${headDim}; at most 128 is supported`)
  else if (rope && headDim % 4 !== 0)
    issue('ddtHead', `has a head_dim of ${headDim}, and rotary positions want a multiple of 4`)
  if (learnSigma) issue('ddtHead', 'predicts a velocity and no variance; leave learnSigma out')
  if (classTokenWidth !== undefined)
    issue('ddtHead', 'predicts the image alone; a class token (REG) is not for a model with this head')
}

/** What REPA's MMDiT has no code for is not for a model of text. */
function requireConsistentCondition(
  { text, classes, norm, ffn, rope, qkNorm, ddtHead, classTokenWidth, learnSigma }: TransformerConfig,
  issue: (path: string, message: string) => void,
): void {
  if (!text) {
    if (classes === 0) issue('classes', 'the model takes no text either; give it a class at least, or `text`')
    return
  }
  if (classes > 0) issue('classes', 'a model of text has captions in their place; let it be 0')
  const other = Object.entries({
    norm: norm !== 'layerNorm',
    ffn: ffn !== 'mlp',
    rope,
    qkNorm,
    ddtHead: ddtHead !== undefined,
    classTokenWidth: classTokenWidth !== undefined,
    learnSigma,
  }).filter(([, has]) => has)
  for (const [name] of other) issue(name, 'goes with classes; leave it out of a model of text')
}
