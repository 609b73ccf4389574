/**
 * DINOv2's vision transformer (arXiv 2304.07193), frozen: inference only, every branch in fused products. Parameter names,
 * shapes and order are those of the state dict of facebookresearch/dinov2 (block_chunks = 0).
 */
import { type Initialiser, normal, ones, zeros } from '../nn/initialiser.ts'
import { Linear } from '../nn/linear.ts'
import { ParameterList } from '../nn/parameter-list.ts'
import { PatchEmbed } from '../nn/patch-embed.ts'
import type { StateSource } from '../nn/state-dict.ts'
import type { Device } from '../tensor/device.ts'
import type { ComputeDType } from '../tensor/dtype.ts'
import { attention } from '../tensor/ops/attention.ts'
import { swiGLU } from '../tensor/ops/elementwise.ts'
import { layerNorm } from '../tensor/ops/layer-norm.ts'
import { linear, linearActivation } from '../tensor/ops/linear.ts'
import { linearLayerScale } from '../tensor/ops/residual.ts'
import { dropTokens, prependTokens, takeTokens } from '../tensor/ops/tokens.ts'
import type { Parameter } from '../tensor/parameter.ts'
import { release, scope } from '../tensor/scope.ts'
import type { Tensor } from '../tensor/tensor.ts'
import { Model } from './model.ts'
import { type Grid, PositionTable } from './position-table.ts'
import {
  type PositionInterpolation,
  type VisionTransformerConfig,
  type VisionTransformerOptions,
  visionTransformerConfigSchema,
} from './vit-config.ts'
import { DINOV2_PRESETS, type DINOv2Preset } from './vit-presets.ts'

/** DINOv2's first values of weights and of the position table. */
const init = normal(0.02)

/** torch.nn.LayerNorm with weight and bias. */
class LayerNorm {
  readonly #weight: Parameter
  readonly #bias: Parameter

  constructor(list: ParameterList, name: string, width: number) {
    this.#weight = list.declare(`${name}.weight`, [width], ones)
    this.#bias = list.declare(`${name}.bias`, [width], zeros)
  }

  /** The result has `dtype`: what the product behind it reads. */
  forward(x: Tensor, dtype: ComputeDType = 'f32'): Tensor {
    return layerNorm(x, this.#weight.value, this.#bias.value, 1e-6, dtype)
  }
}

class Block {
  readonly #heads: number
  readonly #norm1: LayerNorm
  readonly #qkv: Linear
  readonly #proj: Linear
  readonly #gamma1: Parameter
  readonly #norm2: LayerNorm
  /** fc1 and fc2, or w12 and w3 of SwiGLU. */
  readonly #ffn: readonly [Linear, Linear]
  readonly #isSwiGLU: boolean
  readonly #gamma2: Parameter

  constructor(list: ParameterList, name: string, config: VisionTransformerConfig) {
    const { hidden, ffn, ffnWidth } = config
    this.#heads = config.heads
    this.#isSwiGLU = ffn === 'swiglu'
    this.#norm1 = new LayerNorm(list, `${name}.norm1`, hidden)
    this.#qkv = new Linear(list, `${name}.attn.qkv`, hidden, 3 * hidden, init)
    this.#proj = new Linear(list, `${name}.attn.proj`, hidden, hidden, init)
    this.#gamma1 = list.declare(`${name}.ls1.gamma`, [hidden], ones)
    this.#norm2 = new LayerNorm(list, `${name}.norm2`, hidden)
    this.#ffn = this.#isSwiGLU
      ? [
          new Linear(list, `${name}.mlp.w12`, hidden, 2 * ffnWidth, init),
          new Linear(list, `${name}.mlp.w3`, ffnWidth, hidden, init),
        ]
      : [
          new Linear(list, `${name}.mlp.fc1`, hidden, ffnWidth, init),
          new Linear(list, `${name}.mlp.fc2`, ffnWidth, hidden, init),
        ]
    this.#gamma2 = list.declare(`${name}.ls2.gamma`, [hidden], ones)
  }

  /** x [B, N, D] → x + γ1 ⊙ attention, + γ2 ⊙ FFN. */
  forward(x: Tensor): Tensor {
    const attended = scope(() => {
      const normed = this.#norm1.forward(x, this.#qkv.dtype)
      const qkv = linear(normed, this.#qkv)
      release(normed)
      const heads = attention(qkv, this.#heads)
      release(qkv)
      return linearLayerScale(heads, this.#proj, x, this.#gamma1.value)
    })
    return scope(() => {
      const normed = this.#norm2.forward(attended, this.#qkv.dtype)
      const hidden = this.#ffnHidden(normed)
      release(normed)
      return linearLayerScale(hidden, this.#ffn[1], attended, this.#gamma2.value)
    })
  }

  #ffnHidden(x: Tensor): Tensor {
    if (!this.#isSwiGLU) return linearActivation(x, this.#ffn[0], 'gelu-erf')
    return scope(() => swiGLU(linear(x, this.#ffn[0])))
  }
}

/** The layers, declared in the order in which the reference's state dict lists them. */
class Network {
  readonly classToken: Parameter
  readonly positions: PositionTable
  readonly registers: Parameter | undefined
  readonly patchEmbed: PatchEmbed
  readonly blocks: readonly Block[]
  readonly norm: LayerNorm

  constructor(list: ParameterList, config: VisionTransformerConfig) {
    const { hidden, depth, registers, imageSize, patch, channels } = config
    const entries = 1 + (imageSize / patch) ** 2
    const tokens = (name: string, shape: readonly number[], fileShape: readonly number[], first: Initialiser) =>
      list.declare(name, shape, first, { fileShape })
    this.classToken = tokens('cls_token', [hidden], [1, 1, hidden], normal(1e-6))
    this.positions = new PositionTable(tokens('pos_embed', [entries, hidden], [1, entries, hidden], init))
    if (registers > 0) {
      this.registers = tokens('register_tokens', [registers, hidden], [1, registers, hidden], normal(1e-6))
    }
    // Takes part in DINOv2's training only; files hold it.
    list.declare('mask_token', [1, hidden], zeros)
    this.patchEmbed = new PatchEmbed(list, 'patch_embed.proj', { channels, patch, hidden })
    this.blocks = Array.from({ length: depth }, (_, index) => new Block(list, `blocks.${index}`, config))
    this.norm = new LayerNorm(list, 'norm', hidden)
  }
}

/** The class token [B, D] and the patch tokens [B, T, D], row-major, of one layer. */
export interface LayerTokens {
  readonly clsToken: Tensor
  readonly patchTokens: Tensor
}

/** What DINOv2's forward_features returns. */
export interface VisionTransformerOutput extends LayerTokens {
  /** [B, R, D], after the final norm like the others. */
  readonly registerTokens: Tensor | undefined
  /** [B, 1 + R + T, D]: class, registers, patches as they leave the last block. */
  readonly prenorm: Tensor
}

export interface ForwardOptions {
  /** How the position table is fitted to the image's grid. Default: the model's own way. */
  readonly interpolation?: PositionInterpolation
}

export class VisionTransformer extends Model {
  readonly config: VisionTransformerConfig
  readonly #network: Network

  private constructor(config: VisionTransformerConfig, device: Device) {
    const list = new ParameterList()
    const network = new Network(list, config)
    super(list, device)
    this.config = config
    this.#network = network
  }

  /** With initial weights. `model` is a preset (`dinov2-vit-b`) or free sizes. */
  static create(
    model: DINOv2Preset | VisionTransformerOptions,
    { device = 'cpu', seed = 0 }: { device?: Device; seed?: number } = {},
  ): VisionTransformer {
    const options = typeof model === 'string' ? DINOV2_PRESETS[model] : model
    if (!options) {
      throw new RangeError(`There is no model "${model}": expected one of ${Object.keys(DINOV2_PRESETS).join(', ')}.`)
    }
    const vit = VisionTransformer.fromConfig(visionTransformerConfigSchema.parse(options), device)
    vit.initialise(seed)
    return vit
  }

  /** With undefined weights: for loading a state dict. */
  static fromConfig(config: VisionTransformerConfig, device: Device): VisionTransformer {
    return new VisionTransformer(config, device)
  }

  /** The position table, as it is added to images of any grid. */
  get positions(): PositionTable {
    return this.#network.positions
  }

  /** Normalised images f32 [B, C, H, W], H and W multiples of the patch → all tokens after the final norm, and before it. */
  forward(image: Tensor, options: ForwardOptions = {}): VisionTransformerOutput {
    return scope(() => {
      const { registers } = this.config
      const prenorm = this.#encode(image, options)
      const normed = this.#network.norm.forward(prenorm)
      const registerTokens = registers > 0 ? takeTokens(normed, 1, registers) : undefined
      return { ...this.#layerTokens(normed), registerTokens, prenorm }
    })
  }

  /** The patch tokens of `forward` alone, [B, T, D], row-major. */
  patchFeatures(image: Tensor, options: ForwardOptions = {}): Tensor {
    return scope(() => {
      const hidden = this.#encode(image, options)
      const patches = dropTokens(hidden, 1 + this.config.registers)
      release(hidden)
      return this.#network.norm.forward(patches)
    })
  }

  /**
   * DINOv2's get_intermediate_layers: the tokens that leave certain blocks, counted from 0, in the blocks' order; a number takes
   * the last so many. With `norm` (default) they have passed the final norm.
   */
  intermediateLayers(
    image: Tensor,
    layers: number | readonly number[],
    { norm = true, ...options }: ForwardOptions & { norm?: boolean } = {},
  ): LayerTokens[] {
    const { depth } = this.config
    const wanted = new Set(
      typeof layers === 'number' ? Array.from({ length: layers }, (_, i) => depth - layers + i) : layers,
    )
    for (const layer of wanted) {
      if (!(Number.isInteger(layer) && layer >= 0 && layer < depth)) {
        throw new RangeError(`intermediateLayers: there is no block ${layer}; the model has blocks 0 to ${depth - 1}.`)
      }
    }
    return scope(() => {
      const taken: LayerTokens[] = []
      this.#encode(image, options, {
        depth: Math.max(-1, ...wanted) + 1,
        observe: (index, hidden) => {
          if (!wanted.has(index)) return
          taken.push(scope(() => this.#layerTokens(norm ? this.#network.norm.forward(hidden) : hidden)))
        },
      })
      return taken
    })
  }

  override initialise(seed: number): void {
    super.initialise(seed)
    this.#network.positions.clear()
  }

  override async load(source: StateSource, options?: { ignore?: (name: string) => boolean }): Promise<void> {
    try {
      await super.load(source, options)
    } finally {
      this.#network.positions.clear()
    }
  }

  override dispose(): void {
    this.#network.positions.clear()
    super.dispose()
  }

  /** What leaves the first `depth` blocks (default: all), [B, 1 + R + T, D]. `observe` is shown what leaves each. */
  #encode(
    image: Tensor,
    { interpolation = this.config.interpolation }: ForwardOptions,
    { depth = this.config.depth, observe }: { depth?: number; observe?: (index: number, hidden: Tensor) => void } = {},
  ): Tensor {
    const { classToken, positions, registers, patchEmbed, blocks } = this.#network
    const grid = this.#gridOf(image)
    let hidden = scope(() =>
      prependTokens(patchEmbed.embed(image, positions.patchEntries(grid, interpolation)), {
        classToken: classToken.value,
        classPosition: positions.classEntry(),
        ...(registers ? { registers: registers.value } : {}),
      }),
    )
    blocks.slice(0, depth).forEach((block, index) => {
      const input = hidden
      hidden = scope(() => block.forward(input))
      release(input)
      observe?.(index, hidden)
    })
    return hidden
  }

  #layerTokens(hidden: Tensor): LayerTokens {
    const [batch, , width] = hidden.shape
    return {
      clsToken: takeTokens(hidden, 0, 1).reshape([batch!, width!]),
      patchTokens: dropTokens(hidden, 1 + this.config.registers),
    }
  }

  #gridOf(image: Tensor): Grid {
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
