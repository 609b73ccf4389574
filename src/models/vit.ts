/**
 * The vision transformer of DINOv2 (arXiv 2304.07193) and, by its configuration, of DINO, MoCo v3, MAE, CLIP and I-JEPA; frozen:
 * inference only, every branch in fused products. Parameter names, shapes and order are those of the state dict of
 * facebookresearch/dinov2 (block_chunks = 0), which are timm's too; other files' tensors are renamed when they are read.
 */
import { type Initialiser, normal, ones, zeros } from '../nn/initialiser.ts'
import { Linear } from '../nn/linear.ts'
import { ParameterList, type StateEntry } from '../nn/parameter-list.ts'
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
import { keep, release, scope } from '../tensor/scope.ts'
import { Tensor } from '../tensor/tensor.ts'
import { Model } from './model.ts'
import { type Grid, PositionTable } from './position-table.ts'
import {
  type PositionInterpolation,
  prefixTokens,
  type VisionTransformerConfig,
  type VisionTransformerOptions,
  visionTransformerConfigSchema,
} from './vit-config.ts'
import { VISION_TRANSFORMER_PRESETS, type VisionTransformerPreset } from './vit-presets.ts'

/** DINOv2's first values of weights and of the position table. */
const init = normal(0.02)

/** torch.nn.LayerNorm with weight and bias. */
class LayerNorm {
  readonly #weight: Parameter
  readonly #bias: Parameter
  readonly #epsilon: number

  constructor(list: ParameterList, name: string, { hidden, epsilon }: VisionTransformerConfig) {
    this.#weight = list.declare(`${name}.weight`, [hidden], ones)
    this.#bias = list.declare(`${name}.bias`, [hidden], zeros)
    this.#epsilon = epsilon
  }

  /** The result has `dtype`: what the product behind it reads. */
  forward(x: Tensor, dtype: ComputeDType = 'f32'): Tensor {
    return layerNorm(x, this.#weight.value, this.#bias.value, this.#epsilon, dtype)
  }
}

class Block {
  readonly #heads: number
  readonly #norm1: LayerNorm
  readonly #qkv: Linear
  readonly #proj: Linear
  /** LayerScale's; undefined: a branch joins the stream as it is. */
  readonly #gamma1: Parameter | undefined
  readonly #norm2: LayerNorm
  /** fc1 and fc2, or w12 and w3 of SwiGLU. */
  readonly #ffn: readonly [Linear, Linear]
  readonly #activation: VisionTransformerConfig['activation'] | 'swiglu'
  readonly #gamma2: Parameter | undefined

  constructor(list: ParameterList, name: string, config: VisionTransformerConfig) {
    const { hidden, ffn, ffnWidth } = config
    const gamma = (branch: string) =>
      config.layerScale ? list.declare(`${name}.${branch}.gamma`, [hidden], ones) : undefined
    this.#heads = config.heads
    this.#activation = ffn === 'swiglu' ? 'swiglu' : config.activation
    this.#norm1 = new LayerNorm(list, `${name}.norm1`, config)
    this.#qkv = new Linear(list, `${name}.attn.qkv`, hidden, 3 * hidden, init)
    this.#proj = new Linear(list, `${name}.attn.proj`, hidden, hidden, init)
    this.#gamma1 = gamma('ls1')
    this.#norm2 = new LayerNorm(list, `${name}.norm2`, config)
    this.#ffn =
      ffn === 'swiglu'
        ? [
            new Linear(list, `${name}.mlp.w12`, hidden, 2 * ffnWidth, init),
            new Linear(list, `${name}.mlp.w3`, ffnWidth, hidden, init),
          ]
        : [
            new Linear(list, `${name}.mlp.fc1`, hidden, ffnWidth, init),
            new Linear(list, `${name}.mlp.fc2`, ffnWidth, hidden, init),
          ]
    this.#gamma2 = gamma('ls2')
  }

  /** x [B, N, D] → x + γ1 ⊙ attention, + γ2 ⊙ FFN; `one` [D] stands for γ where there is no LayerScale. */
  forward(x: Tensor, one: Tensor): Tensor {
    const attended = scope(() => {
      const normed = this.#norm1.forward(x, this.#qkv.dtype)
      const qkv = linear(normed, this.#qkv)
      release(normed)
      const heads = attention(qkv, this.#heads)
      release(qkv)
      return linearLayerScale(heads, this.#proj, x, this.#gamma1?.value ?? one)
    })
    return scope(() => {
      const normed = this.#norm2.forward(attended, this.#qkv.dtype)
      const hidden = this.#ffnHidden(normed)
      release(normed)
      return linearLayerScale(hidden, this.#ffn[1], attended, this.#gamma2?.value ?? one)
    })
  }

  #ffnHidden(x: Tensor): Tensor {
    if (this.#activation !== 'swiglu') return linearActivation(x, this.#ffn[0], this.#activation)
    return scope(() => swiGLU(linear(x, this.#ffn[0])))
  }
}

/** The layers, declared in the order in which the reference's state dict lists them. */
class Network {
  readonly classToken: Parameter | undefined
  readonly positions: PositionTable
  readonly registers: Parameter | undefined
  readonly patchEmbed: PatchEmbed
  readonly preNorm: LayerNorm | undefined
  readonly blocks: readonly Block[]
  readonly norm: LayerNorm | undefined

  constructor(list: ParameterList, config: VisionTransformerConfig) {
    const { hidden, depth, registers, imageSize, patch, channels, classToken } = config
    const entries = (classToken ? 1 : 0) + (imageSize / patch) ** 2
    const tokens = (name: string, shape: readonly number[], fileShape: readonly number[], first: Initialiser) =>
      list.declare(name, shape, first, { fileShape })
    if (classToken) this.classToken = tokens('cls_token', [hidden], [1, 1, hidden], normal(1e-6))
    const table = tokens('pos_embed', [entries, hidden], [1, entries, hidden], init)
    this.positions = new PositionTable(table, { classToken })
    if (registers > 0) {
      this.registers = tokens('register_tokens', [registers, hidden], [1, registers, hidden], normal(1e-6))
    }
    if (config.maskToken) list.declare('mask_token', [1, hidden], zeros)
    this.patchEmbed = new PatchEmbed(list, 'patch_embed.proj', { channels, patch, hidden, bias: config.patchBias })
    if (config.preNorm) this.preNorm = new LayerNorm(list, 'norm_pre', config)
    this.blocks = Array.from({ length: depth }, (_, index) => new Block(list, `blocks.${index}`, config))
    if (config.finalNorm) this.norm = new LayerNorm(list, 'norm', config)
  }
}

/** The class token [B, D], where the model has one, and the patch tokens [B, T, D], row-major, of one layer. */
export interface LayerTokens {
  readonly clsToken: Tensor | undefined
  readonly patchTokens: Tensor
}

/** What DINOv2's forward_features returns. */
export interface VisionTransformerOutput extends LayerTokens {
  /** [B, R, D], after the final norm, where there is one, like the others. */
  readonly registerTokens: Tensor | undefined
  /** [B, 1 + R + T, D]: class (where there is one), registers, patches as they leave the last block. */
  readonly prenorm: Tensor
}

export interface ForwardOptions {
  /** How the position table is fitted to the image's grid. Default: the model's own way. */
  readonly interpolation?: PositionInterpolation
}

export class VisionTransformer extends Model {
  readonly config: VisionTransformerConfig
  readonly #network: Network
  /** [D] of ones. */
  readonly #one: Tensor

  private constructor(config: VisionTransformerConfig, device: Device) {
    const list = new ParameterList()
    const network = new Network(list, config)
    super(list, device)
    this.config = config
    this.#network = network
    this.#one = keep(Tensor.full([config.hidden], 1, device))
  }

  /** With initial weights. `model` is a preset (`dinov2-vit-b`) or free sizes. */
  static create(
    model: VisionTransformerPreset | VisionTransformerOptions,
    { device = 'cpu', seed = 0 }: { device?: Device; seed?: number } = {},
  ): VisionTransformer {
    const options = typeof model === 'string' ? VISION_TRANSFORMER_PRESETS[model] : model
    if (!options) {
      const names = Object.keys(VISION_TRANSFORMER_PRESETS).join(', ')
      throw new RangeError(`There is no model "${model}": expected one of ${names}.`)
    }
    const vit = VisionTransformer.fromConfig(visionTransformerConfigSchema.parse(options), device)
    vit.initialise(seed)
    return vit
  }

  /** The state dict's tensors of a model of this configuration, in their order. Takes no memory for them. */
  static entriesOf(config: VisionTransformerConfig): readonly StateEntry[] {
    const list = new ParameterList()
    new Network(list, config)
    return list.entries
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
      const normed = this.#normed(prenorm)
      const registerTokens = registers > 0 ? takeTokens(normed, 1, registers) : undefined
      return { ...this.#layerTokens(normed), registerTokens, prenorm }
    })
  }

  /** The patch tokens of `forward` alone, [B, T, D], row-major. */
  patchFeatures(image: Tensor, options: ForwardOptions = {}): Tensor {
    return scope(() => {
      const hidden = this.#encode(image, options)
      const prefix = prefixTokens(this.config)
      if (prefix === 0) return this.#normed(hidden)
      const patches = dropTokens(hidden, prefix)
      release(hidden)
      return this.#normed(patches)
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
          taken.push(scope(() => this.#layerTokens(norm ? this.#normed(hidden) : hidden)))
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
    this.#one.dispose()
    super.dispose()
  }

  #normed(hidden: Tensor): Tensor {
    return this.#network.norm?.forward(hidden) ?? hidden
  }

  /** What leaves the first `depth` blocks (default: all), [B, 1 + R + T, D]. `observe` is shown what leaves each. */
  #encode(
    image: Tensor,
    { interpolation = this.config.interpolation }: ForwardOptions,
    { depth = this.config.depth, observe }: { depth?: number; observe?: (index: number, hidden: Tensor) => void } = {},
  ): Tensor {
    const { blocks } = this.#network
    let hidden = scope(() => this.#embed(image, interpolation))
    blocks.slice(0, depth).forEach((block, index) => {
      const input = hidden
      hidden = scope(() => block.forward(input, this.#one))
      release(input)
      observe?.(index, hidden)
    })
    return hidden
  }

  /** What enters the first block. */
  #embed(image: Tensor, interpolation: PositionInterpolation): Tensor {
    const { classToken, positions, registers, patchEmbed, preNorm } = this.#network
    const patches = patchEmbed.embed(image, positions.patchEntries(this.#gridOf(image), interpolation))
    const tokens = classToken
      ? prependTokens(patches, {
          classToken: classToken.value,
          classPosition: positions.classEntry(),
          ...(registers ? { registers: registers.value } : {}),
        })
      : patches
    return preNorm?.forward(tokens) ?? tokens
  }

  #layerTokens(hidden: Tensor): LayerTokens {
    const [batch, , width] = hidden.shape
    const prefix = prefixTokens(this.config)
    return {
      clsToken: this.config.classToken ? takeTokens(hidden, 0, 1).reshape([batch!, width!]) : undefined,
      patchTokens: dropTokens(hidden, prefix),
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
