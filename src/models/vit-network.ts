import { type Initialiser, normal, values, zeros } from '../nn/initialiser.ts'
import { countMemoryChange } from '../nn/parameter-arena.ts'
import type { ParameterList } from '../nn/parameter-list.ts'
import { PatchEmbed } from '../nn/patch-embed.ts'
import { reshape } from '../tensor/ops/reshape.ts'
import { dropTokens, prependTokens, takeTokens } from '../tensor/ops/tokens.ts'
import type { Parameter } from '../tensor/parameter.ts'
import { keep, release, scope } from '../tensor/scope.ts'
import { Tensor } from '../tensor/tensor.ts'
import { type AttentionWatch, watcherOf } from './attention-watch.ts'
import { type Grid, PositionTable } from './position-table.ts'
import { sinCosPositions } from './positions.ts'
import { RotaryGrids } from './rotary-grids.ts'
import { Block, LayerNorm } from './vit-block.ts'
import { type PositionInterpolation, prefixTokens, type VisionTransformerConfig } from './vit-config.ts'

/** DINOv2's first values of weights and of the position table. */
const dinov2Init = normal(0.02)

export interface NetworkOptions {
  /** What stands before every name, in a model of which this is a part. */
  readonly prefix?: string
  /** First values of the weights of products. Default: DINOv2's. */
  readonly init?: Initialiser
  /**
   * Whether the positions are MAE's table of sines and cosines (the class token's is zero), which is not trained. Others are learnt,
   * elsewhere: the tape does not reach them.
   */
  readonly fixedPositions?: boolean
}

export interface EncodeOptions {
  readonly grid?: Grid
  readonly depth?: number
  readonly observe?: (index: number, hidden: Tensor) => void
  readonly attention?: AttentionWatch | undefined
}

/** The class token [B, D], where the model has one, and the patch tokens [B, T, D], row-major, of one layer. */
export interface LayerTokens {
  readonly clsToken: Tensor | undefined
  readonly patchTokens: Tensor
}

/**
 * The layers of a vision transformer, declared in the order in which the reference's state dict lists them, and how images go through
 * them. Part of a model of its own (vit.ts) or of what trains one (pretraining/); differentiable where a tape records.
 */
export class VisionNetwork {
  readonly config: VisionTransformerConfig
  readonly classToken: Parameter | undefined
  readonly registers: Parameter | undefined
  readonly patchEmbed: PatchEmbed
  readonly preNorm: LayerNorm | undefined
  readonly blocks: readonly Block[]
  readonly norm: LayerNorm | undefined
  /** What is added to the tokens, or by which queries and keys are turned. */
  readonly #positions: { readonly parameter: Parameter; readonly table: PositionTable } | undefined
  readonly #rotary: RotaryGrids | undefined
  #ones: Tensor | undefined

  constructor(
    list: ParameterList,
    config: VisionTransformerConfig,
    { prefix = '', init = dinov2Init, fixedPositions = false }: NetworkOptions = {},
  ) {
    const { hidden, depth, registers, imageSize, patch, channels, classToken } = config
    const side = imageSize / patch
    const entries = (classToken ? 1 : 0) + side ** 2
    const tokens = (name: string, shape: readonly number[], fileShape: readonly number[], first: Initialiser) =>
      list.declare(`${prefix}${name}`, shape, first, { fileShape })
    this.config = config
    if (classToken) this.classToken = tokens('cls_token', [hidden], [1, 1, hidden], normal(1e-6))
    if (config.rope) {
      this.#rotary = new RotaryGrids(config.rope.periods, prefixTokens(config))
    } else {
      const fixed = values(() => {
        const table = new Float32Array(entries * hidden)
        table.set(sinCosPositions(hidden, side, side), classToken ? hidden : 0)
        return table
      })
      const parameter = list.declare(`${prefix}pos_embed`, [entries, hidden], fixedPositions ? fixed : dinov2Init, {
        fileShape: [1, entries, hidden],
        trainable: !fixedPositions,
      })
      this.#positions = { parameter, table: new PositionTable(parameter, { classToken }) }
    }
    if (registers > 0) {
      this.registers = tokens('register_tokens', [registers, hidden], [1, registers, hidden], normal(1e-6))
    }
    if (config.maskToken) list.declare(`${prefix}mask_token`, [1, hidden], zeros)
    this.patchEmbed = new PatchEmbed(list, `${prefix}patch_embed.proj`, {
      channels,
      patch,
      hidden,
      bias: config.patchBias,
    })
    if (config.preNorm) this.preNorm = new LayerNorm(list, `${prefix}norm_pre`, config)
    this.blocks = Array.from({ length: depth }, (_, index) => new Block(list, `${prefix}blocks.${index}`, config, init))
    if (config.finalNorm) this.norm = new LayerNorm(list, `${prefix}norm`, config)
  }

  /** @throws TypeError where positions are rotary */
  get positions(): PositionTable {
    if (this.#positions) return this.#positions.table
    throw new TypeError('VisionTransformer: there is no position table, for positions are rotary.')
  }

  /** Normalised images f32 [B, C, H, W] → what enters the first block, [B, 1 + R + T, D]. */
  embed(image: Tensor, interpolation: PositionInterpolation = this.config.interpolation): Tensor {
    const grid = this.gridOf(image)
    const { hidden } = this.config
    const positions =
      this.#positions?.table.patchEntries(grid, interpolation) ??
      Tensor.zeros([grid[0] * grid[1], hidden], image.device)
    return this.sequence(this.patchEmbed.embed(image, positions))
  }

  /** The sequence that enters the first block, of embedded patches [B, T, D] that have their positions: any of them, in any order. */
  sequence(patches: Tensor): Tensor {
    const { classToken, registers, preNorm } = this
    const positions = this.#positions
    if (positions?.parameter.gradient) {
      throw new Error(
        `${positions.parameter.name} is to be trained, and no gradient reaches it; make the network with fixedPositions.`,
      )
    }
    const tokens = classToken
      ? prependTokens(patches, {
          classToken: classToken.value,
          ...(positions ? { classPosition: positions.table.classEntry() } : {}),
          ...(registers ? { registers: registers.value } : {}),
        })
      : patches
    return preNorm?.forward(tokens) ?? tokens
  }

  /**
   * What leaves the first `depth` blocks (default: all), [B, N, D]. Takes the input over. `observe` is shown what leaves each. Rotary
   * positions are those of all of `grid`'s patches in their order, behind the class token and the registers.
   */
  encode(tokens: Tensor, { grid, depth = this.config.depth, observe, attention }: EncodeOptions = {}): Tensor {
    this.#ones ??= keep(Tensor.full([this.config.hidden], 1, tokens.device))
    const ones = this.#ones
    if (this.#rotary && !grid)
      throw new TypeError('VisionNetwork.encode: a network with rotary positions needs the grid of its tokens.')
    const rope = grid && this.#rotary?.tables(grid, tokens.device)
    let hidden = tokens
    this.blocks.slice(0, depth).forEach((block, index) => {
      const input = hidden
      hidden = scope(() => block.forward(input, ones, rope, watcherOf(attention, index + 1)))
      release(input)
      observe?.(index, hidden)
    })
    return hidden
  }

  /** Behind the final norm, where there is one. */
  normed(hidden: Tensor): Tensor {
    return this.norm?.forward(hidden) ?? hidden
  }

  layerTokens(hidden: Tensor): LayerTokens {
    const [batch, , width] = hidden.shape
    return {
      clsToken: this.classToken ? reshape(takeTokens(hidden, 0, 1), [batch!, width!]) : undefined,
      patchTokens: dropTokens(hidden, prefixTokens(this.config)),
    }
  }

  /** Frees what was derived of the parameters: when they go, or have other values. */
  clear(): void {
    countMemoryChange()
    this.#positions?.table.clear()
    this.#rotary?.clear()
    this.#ones?.dispose()
    this.#ones = undefined
  }

  /** The patches of images [B, C, H, W]. Throws where H and W are no multiples of the patch, or C is not the model's. */
  gridOf(image: Tensor): Grid {
    const { patch, channels } = this.config
    const [, imageChannels, height, width] = image.shape
    if (image.shape.length !== 4 || imageChannels !== channels || height! % patch !== 0 || width! % patch !== 0) {
      throw new RangeError(
        `VisionTransformer: the image has shape [${image.shape}]; expected [B, ${channels}, H, W] with H and W multiples ` +
          `of the patch, ${patch}.`,
      )
    }
    return [height! / patch, width! / patch]
  }
}
