/**
 * The text transformer of CLIP (arXiv 2103.00020), to take hidden states from: embeddings of tokens and of their places, pre-norm
 * blocks of causal attention, a last LayerNorm. What text-to-image models are conditioned on is its output for every token, the
 * Transformers library's CLIPTextModel.last_hidden_state; CLIP's own projection of the last token is left out. Blocks have the names
 * of models/vit.ts, what stands around them the Transformers library's; other files' tensors are renamed when they are read
 * (clip-text-weights.ts).
 */
import * as z from 'zod'
import { parseConfiguration } from '../configuration/parse.ts'
import { normal } from '../nn/initialiser.ts'
import { ParameterList, type StateEntry } from '../nn/parameter-list.ts'
import type { Device } from '../tensor/device.ts'
import { embedding } from '../tensor/ops/embedding.ts'
import { reshape } from '../tensor/ops/reshape.ts'
import { prependTokens } from '../tensor/ops/tokens.ts'
import type { Parameter } from '../tensor/parameter.ts'
import { keep, release, scope } from '../tensor/scope.ts'
import { Tensor } from '../tensor/tensor.ts'
import { Model } from './model.ts'
import { Block, LayerNorm } from './vit-block.ts'

const positive = z.int().positive()

/** Everything that fixes the parameters and the computation. What is left out is as OpenAI published it. */
export const clipTextConfigSchema = z
  .strictObject({
    /** Rows of the token embedding. */
    vocabulary: positive.default(49_408),
    /** Tokens of a caption, to which every one is padded or cut. */
    tokens: positive.default(77),
    hidden: positive,
    depth: positive,
    /** Default: of 64 columns each. */
    heads: positive.optional(),
    /** Of the MLP's hidden layer. Default: 4·hidden. */
    ffnWidth: positive.optional(),
    activation: z.enum(['quick-gelu', 'gelu-erf', 'gelu-tanh']).default('quick-gelu'),
    /** Of the LayerNorms. */
    epsilon: z.number().positive().default(1e-5),
  })
  .superRefine(({ hidden, heads = hidden / 64 }, context) => {
    const issue = (path: string, message: string) => context.addIssue({ code: 'custom', path: [path], message })
    if (!Number.isInteger(heads)) issue('heads', `must be said, for the width of ${hidden} is no multiple of 64`)
    else if (hidden % heads !== 0) issue('heads', `${heads} heads do not divide the hidden width ${hidden}`)
    else if (hidden / heads > 128) {
      issue('heads', `gives a head_dim of ${hidden / heads}; at most 128 is supported`)
    }
  })
  .transform((config) => ({
    ...config,
    heads: config.heads ?? config.hidden / 64,
    ffnWidth: config.ffnWidth ?? 4 * config.hidden,
  }))

export type ClipTextConfig = z.output<typeof clipTextConfigSchema>
export type ClipTextOptions = z.input<typeof clipTextConfigSchema>

/** The text towers that OpenAI published, by the image towers beside them. */
export const CLIP_TEXT_PRESETS = {
  /** Of ViT-B/32 and ViT-B/16. */
  'clip-vit-B': { hidden: 512, depth: 12 },
  'clip-vit-L': { hidden: 768, depth: 12 },
} as const satisfies Readonly<Record<string, ClipTextOptions>>

/**
 * A text tower of OpenAI's form for captions of so many tokens and hidden states so wide: what it published has 12 blocks at every width.
 *
 * @throws {ConfigurationError} where the width is no multiple of 64
 */
export function clipTextOfSizes({
  tokens,
  width,
}: {
  readonly tokens: number
  readonly width: number
}): ClipTextConfig {
  const options: ClipTextOptions = { tokens, hidden: width, depth: 12 }
  return parseConfiguration(clipTextConfigSchema, options, `a CLIP text encoder of width ${width}`)
}

/** The published tower's name of these sizes; of others what tells them. */
export function clipTextName({ hidden, depth }: ClipTextConfig): string {
  const published = Object.entries(CLIP_TEXT_PRESETS).find(
    ([, preset]) => preset.hidden === hidden && preset.depth === depth,
  )
  return published?.[0] ?? `clip-text-${hidden}x${depth}`
}

export class ClipTextTransformer extends Model {
  readonly config: ClipTextConfig
  readonly #layers: Layers
  /** [D], by which a block's branches are multiplied where they join the stream. */
  readonly #ones: Tensor

  private constructor(config: ClipTextConfig, device: Device) {
    const list = new ParameterList()
    const layers = new Layers(list, config)
    super(list, device)
    this.config = config
    this.#layers = layers
    this.#ones = keep(Tensor.full([config.hidden], 1, device))
  }

  /** The tensors of a model of this configuration, in their order. Takes no memory for them. */
  static entriesOf(config: ClipTextConfig): readonly StateEntry[] {
    const list = new ParameterList()
    new Layers(list, config)
    return list.entries
  }

  /** With undefined weights: for loading a state dict, and for planning. */
  static fromConfig(config: ClipTextConfig, device: Device): ClipTextTransformer {
    return new ClipTextTransformer(config, device)
  }

  /**
   * Token ids i32 [B, tokens] → hidden states [B, tokens, D] behind the last LayerNorm, in the dtype of computation. An id that is no row
   * of the embedding gives NaN in its caption. Nothing comes from the host: a captured CUDA graph may hold it.
   *
   * @throws {RangeError} where the ids have another shape
   */
  forward(ids: Tensor): Tensor {
    const { tokens, hidden: width } = this.config
    const [batch] = ids.shape
    if (ids.shape.length !== 2 || ids.shape[1] !== tokens) {
      throw new RangeError(`ClipTextTransformer: the token ids have shape [${ids.shape}]; expected [B, ${tokens}].`)
    }
    const { tokenEmbedding, positions, blocks, norm } = this.#layers
    return scope(() => {
      let hidden = scope(() => {
        const embedded = embedding(tokenEmbedding.value, ids.reshape([batch! * tokens]))
        return prependTokens(reshape(embedded, [batch!, tokens, width]), { positions: positions.value })
      })
      for (const block of blocks) {
        const input = hidden
        hidden = block.forward(input, this.#ones)
        release(input)
      }
      return norm.forward(hidden, this.dtype)
    })
  }

  override dispose(): void {
    this.#ones.dispose()
    super.dispose()
  }
}

/** Declared in the order of the Transformers library's state dict. The first values are those of OpenAI's initialize_parameters. */
class Layers {
  readonly tokenEmbedding: Parameter
  readonly positions: Parameter
  readonly blocks: readonly Block[]
  readonly norm: LayerNorm

  constructor(list: ParameterList, config: ClipTextConfig) {
    const { vocabulary, tokens, hidden, depth } = config
    this.tokenEmbedding = list.declare('token_embedding.weight', [vocabulary, hidden], normal(0.02))
    this.positions = list.declare('position_embedding.weight', [tokens, hidden], normal(0.01))
    const block = { ...config, ffn: 'mlp', layerScale: false, causal: true } as const
    this.blocks = Array.from(
      { length: depth },
      (_, index) => new Block(list, `blocks.${index}`, block, normal(hidden ** -0.5)),
    )
    this.norm = new LayerNorm(list, 'final_layer_norm', config)
  }
}
