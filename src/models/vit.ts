/**
 * The vision transformer of DINOv2 (arXiv 2304.07193) and, by its configuration, of DINO, MoCo v3, MAE, CLIP, I-JEPA, SigLIP
 * and DINOv3, to take features from. Parameter names, shapes and order are those of the state dict of facebookresearch/dinov2
 * (block_chunks = 0), which are timm's too; other files' tensors are renamed when they are read.
 */
import { parseConfiguration } from '../configuration/parse.ts'
import { ParameterList, type StateEntry } from '../nn/parameter-list.ts'
import type { StateSource } from '../nn/state-dict.ts'
import { type Device, deviceOf } from '../tensor/device.ts'
import { dropTokens, joinTokens, takeTokens } from '../tensor/ops/tokens.ts'
import { release, scope } from '../tensor/scope.ts'
import type { Tensor } from '../tensor/tensor.ts'
import type { AttentionWatch } from './attention-watch.ts'
import { Model, requireSeed } from './model.ts'
import type { PositionTable } from './position-table.ts'
import { presetSize } from './presets.ts'
import {
  type PositionInterpolation,
  prefixTokens,
  type VisionTransformerConfig,
  type VisionTransformerOptions,
  visionTransformerConfigSchema,
} from './vit-config.ts'
import { type LayerTokens, VisionNetwork } from './vit-network.ts'
import { VISION_TRANSFORMER_PRESETS, type VisionTransformerPreset } from './vit-presets.ts'

export type { LayerTokens } from './vit-network.ts'

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
  /** Shows what attention reads in some of the blocks, [B, 1 + R + T, 3D]: class (where there is one), registers, patches. */
  readonly attention?: AttentionWatch | undefined
}

export class VisionTransformer extends Model {
  readonly config: VisionTransformerConfig
  readonly #network: VisionNetwork

  private constructor(config: VisionTransformerConfig, device: Device) {
    const list = new ParameterList()
    const network = new VisionNetwork(list, config)
    super(list, device)
    this.config = config
    this.#network = network
  }

  /**
   * With initial weights. `model` is a preset (`dinov2-vit-b`) or free sizes; `device` is `cpu` by default, and may be `auto`, `cuda` or
   * `cuda:N`.
   *
   * @throws {ConfigurationError} naming every setting that is wrong
   */
  static create(
    model: VisionTransformerPreset | VisionTransformerOptions,
    { device = 'cpu', seed = 0 }: { device?: Device; seed?: number } = {},
  ): VisionTransformer {
    requireSeed(seed)
    const options = presetSize(VISION_TRANSFORMER_PRESETS, model)
    const config = parseConfiguration(visionTransformerConfigSchema, options, "the model's configuration")
    const vit = VisionTransformer.fromConfig(config, deviceOf(device))
    vit.initialise(seed)
    return vit
  }

  /** The state dict's tensors of a model of this configuration, in their order. Takes no memory for them. */
  static entriesOf(config: VisionTransformerConfig): readonly StateEntry[] {
    const list = new ParameterList()
    new VisionNetwork(list, config)
    return list.entries
  }

  /** With undefined weights: for loading a state dict. */
  static fromConfig(config: VisionTransformerConfig, device: Device): VisionTransformer {
    return new VisionTransformer(config, device)
  }

  /**
   * The position table, as it is added to images of any grid.
   *
   * @throws TypeError where positions are rotary
   */
  get positions(): PositionTable {
    return this.#network.positions
  }

  /** Normalised images f32 [B, C, H, W], H and W multiples of the patch → all tokens after the final norm, and before it. */
  forward(image: Tensor, options: ForwardOptions = {}): VisionTransformerOutput {
    return scope(() => {
      const { registers } = this.config
      const prenorm = this.#encode(image, options)
      const normed = this.#network.normed(prenorm)
      const registerTokens = registers > 0 ? takeTokens(normed, 1, registers) : undefined
      return { ...this.#network.layerTokens(normed), registerTokens, prenorm }
    })
  }

  /** The patch tokens of `forward` alone, [B, T, D], row-major; with `classToken` that before them, [B, 1 + T, D]. */
  patchFeatures(
    image: Tensor,
    { classToken = false, ...options }: ForwardOptions & { classToken?: boolean } = {},
  ): Tensor {
    if (classToken && !this.config.classToken) throw new TypeError('patchFeatures: the model has no class token.')
    return scope(() => {
      const hidden = this.#encode(image, options)
      const prefix = prefixTokens(this.config)
      const before = classToken ? 1 : 0
      if (prefix === before) return this.#network.normed(hidden)
      const patches = dropTokens(hidden, prefix)
      const tokens = classToken ? joinTokens(takeTokens(hidden, 0, 1), patches) : patches
      release(hidden)
      return this.#network.normed(tokens)
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
    const network = this.#network
    return scope(() => {
      const taken: LayerTokens[] = []
      this.#encode(image, options, {
        depth: Math.max(-1, ...wanted) + 1,
        observe: (index, hidden) => {
          if (!wanted.has(index)) return
          taken.push(scope(() => network.layerTokens(norm ? network.normed(hidden) : hidden)))
        },
      })
      return taken
    })
  }

  override initialise(seed: number): void {
    super.initialise(seed)
    this.#network.clear()
  }

  override async load(source: StateSource, options?: { ignore?: (name: string) => boolean }): Promise<void> {
    try {
      await super.load(source, options)
    } finally {
      this.#network.clear()
    }
  }

  override dispose(): void {
    this.#network.clear()
    super.dispose()
  }

  /** What leaves the first `depth` blocks (default: all), [B, 1 + R + T, D]. `observe` is shown what leaves each. */
  #encode(
    image: Tensor,
    { interpolation = this.config.interpolation, attention }: ForwardOptions,
    taking: { depth?: number; observe?: (index: number, hidden: Tensor) => void } = {},
  ): Tensor {
    const tokens = scope(() => this.#network.embed(image, interpolation))
    return this.#network.encode(tokens, { grid: this.#network.gridOf(image), attention, ...taking })
  }
}
