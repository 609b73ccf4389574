/**
 * SiT (arXiv 2401.08740) as REPA trains it (arXiv 2410.06940): a diffusion transformer with adaLN-zero blocks, and projectors
 * that map the hidden states after one block to the features of frozen encoders. Parameter names, shapes, order and
 * initialisation are those of REPA's models/sit.py.
 */
import * as z from 'zod'
import { parseConfiguration } from '../configuration/parse.ts'
import { normal, ones, values, zeros } from '../nn/initialiser.ts'
import { Linear } from '../nn/linear.ts'
import { ParameterList, type StateEntry } from '../nn/parameter-list.ts'
import { PatchEmbed } from '../nn/patch-embed.ts'
import type { Device } from '../tensor/device.ts'
import type { ComputeDType } from '../tensor/dtype.ts'
import { attention, qkNorm } from '../tensor/ops/attention.ts'
import { add, silu } from '../tensor/ops/elementwise.ts'
import { embedding, timestepEmbedding } from '../tensor/ops/embedding.ts'
import { type Joined, linearGatedResidualModulate, mlpGatedResidualModulate } from '../tensor/ops/half-block.ts'
import { layerNormModulate } from '../tensor/ops/layer-norm.ts'
import { type LinearWeights, linear, mlp } from '../tensor/ops/linear.ts'
import { unpatchify } from '../tensor/ops/patch.ts'
import { reshape } from '../tensor/ops/reshape.ts'
import type { Parameter } from '../tensor/parameter.ts'
import { release, scope } from '../tensor/scope.ts'
import type { Tensor } from '../tensor/tensor.ts'
import { Model } from './model.ts'
import { sinCosPositions } from './positions.ts'
import { SIT_PRESETS, type SiTPreset } from './presets.ts'

const positive = z.int().positive()

/** Everything that fixes a SiT's parameters and computation. */
export const sitConfigSchema = z
  .strictObject({
    kind: z.literal('SiT'),
    depth: positive,
    hidden: positive.refine((hidden) => hidden % 4 === 0, 'must be a multiple of 4 (sine-cosine positions)'),
    heads: positive,
    patch: positive,
    /** Of the latent (or image): [height, width], multiples of the patch. */
    inputSize: z.tuple([positive, positive]),
    channels: positive.default(4),
    classes: positive.default(1000),
    /** Hidden width of a block's MLP over `hidden`. */
    mlpRatio: z.number().positive().default(4),
    /** LayerNorm of queries and keys over head_dim. */
    qkNorm: z.boolean().default(false),
    /** Probability with which training replaces a label by the null class; 0 leaves the null class out of the label table. */
    classDropout: z.number().min(0).max(1).default(0.1),
    /** Number of the block after which the hidden states are projected (encoder_depth), counted from 1. */
    alignDepth: positive.default(8),
    /** Feature width of each encoder that is aligned with (z_dims); empty: no alignment. */
    alignWidths: z.array(positive).default([]),
    /** Width of the projectors' two hidden layers (projector_dim). */
    projectorWidth: positive.default(2048),
  })
  .superRefine((config, context) => {
    const issue = (path: string, message: string) => context.addIssue({ code: 'custom', path: [path], message })
    const [height, width] = config.inputSize
    if (config.hidden % config.heads !== 0) {
      issue('heads', `${config.heads} heads do not divide the hidden width ${config.hidden}`)
    } else if (config.hidden / config.heads > 128) {
      issue('heads', `gives a head_dim of ${config.hidden / config.heads}; at most 128 is supported`)
    }
    if (height % config.patch !== 0 || width % config.patch !== 0) {
      issue('patch', `a patch of ${config.patch} does not divide an input of ${height} x ${width}`)
    }
    if (config.alignWidths.length > 0 && config.alignDepth > config.depth) {
      issue('alignDepth', `block ${config.alignDepth} does not exist in a model of ${config.depth} blocks`)
    }
  })

export type SiTConfig = z.output<typeof sitConfigSchema>
export type SiTOptions = z.input<typeof sitConfigSchema>

/** @throws {ConfigurationError} naming every setting that is wrong */
export function parseSiTConfig(config: unknown, what = "the model's configuration"): SiTConfig {
  return parseConfiguration(sitConfigSchema, config, what)
}

/** Width of the sinusoidal features that the time embedder takes. */
const FREQUENCIES = 256
/** Chunks of the modulation that a block uses, in the reference's order. */
const BLOCK_CHUNKS = { shiftAttention: 0, scaleAttention: 1, gateAttention: 2, shiftMlp: 3, scaleMlp: 4, gateMlp: 5 }
const CHUNKS_PER_BLOCK = 6

/** The modulation with which block `index` reads the stream first; the final layer's follows the last block's in the same way. */
function entryModulation(index: number): { shift: number; scale: number } {
  const first = index * CHUNKS_PER_BLOCK
  return { shift: first + BLOCK_CHUNKS.shiftAttention, scale: first + BLOCK_CHUNKS.scaleAttention }
}

/** Is shown a forward pass's tensors by name; they live as long as the pass, so what is to stay is aliased and kept. */
export type Observe = (name: string, tensor: Tensor) => void

/** Adds the entries of one adaLN projection, [chunks·hidden, hidden] and its bias, to the model's shared one. */
type AdaLNPart = (name: string, chunks: number) => void

class Block {
  readonly #qkv: Linear
  readonly #proj: Linear
  readonly #fc1: Linear
  readonly #fc2: Linear
  readonly #qkNorm: { [K in 'qWeight' | 'qBias' | 'kWeight' | 'kBias']: Parameter } | undefined
  readonly #name: string
  readonly #heads: number
  readonly #chunk: number

  constructor(list: ParameterList, index: number, config: SiTConfig, adaLN: AdaLNPart) {
    const { hidden, heads } = config
    const name = `blocks.${index}`
    const mlpWidth = Math.trunc(hidden * config.mlpRatio)
    this.#name = name
    this.#heads = heads
    this.#chunk = index * CHUNKS_PER_BLOCK
    this.#qkv = new Linear(list, `${name}.attn.qkv`, hidden, 3 * hidden)
    if (config.qkNorm) {
      const width = [hidden / heads]
      this.#qkNorm = {
        qWeight: list.declare(`${name}.attn.q_norm.weight`, width, ones),
        qBias: list.declare(`${name}.attn.q_norm.bias`, width, zeros),
        kWeight: list.declare(`${name}.attn.k_norm.weight`, width, ones),
        kBias: list.declare(`${name}.attn.k_norm.bias`, width, zeros),
      }
    }
    this.#proj = new Linear(list, `${name}.attn.proj`, hidden, hidden)
    this.#fc1 = new Linear(list, `${name}.mlp.fc1`, hidden, mlpWidth)
    this.#fc2 = new Linear(list, `${name}.mlp.fc2`, mlpWidth, hidden)
    adaLN(`${name}.adaLN_modulation.1`, CHUNKS_PER_BLOCK)
  }

  get dtype(): ComputeDType {
    return this.#qkv.dtype
  }

  /**
   * The stream [B, T, D] → stream + gated attention, + gated MLP. Both branches read the stream through a LayerNorm and a modulation,
   * chunks of [B, chunks, D] of all blocks. They join the stream in one op with what reads it next: attention's with that of the MLP, the
   * MLP's with that of `next`, the block or final layer of that number.
   */
  forward({ stream, modulated }: Joined, modulation: Tensor, next: number, observe?: Observe): Joined {
    const chunk = (which: keyof typeof BLOCK_CHUNKS) => this.#chunk + BLOCK_CHUNKS[which]
    const attended = linearGatedResidualModulate(
      this.#attention(modulated, observe),
      this.#proj,
      { residual: stream, modulation, gate: chunk('gateAttention') },
      { shift: chunk('shiftMlp'), scale: chunk('scaleMlp') },
    )
    return mlpGatedResidualModulate(
      attended.modulated,
      [this.#fc1, this.#fc2],
      'gelu-tanh',
      { residual: attended.stream, modulation, gate: chunk('gateMlp') },
      entryModulation(next),
    )
  }

  #attention(x: Tensor, observe?: Observe): Tensor {
    const qkv = linear(x, this.#qkv)
    observe?.(`${this.#name}.attn.qkv`, qkv)
    if (!this.#qkNorm) return attention(qkv, this.#heads)
    const { qWeight, qBias, kWeight, kBias } = this.#qkNorm
    const weights = { qWeight: qWeight.value, qBias: qBias.value, kWeight: kWeight.value, kBias: kBias.value }
    return attention(qkNorm(qkv, weights, this.#heads), this.#heads)
  }
}

export interface SiTOutput {
  /** The velocity, [B, C, H, W]. */
  readonly velocity: Tensor
  /** For every encoder the projected hidden states [B, T, z]; empty when not asked for. */
  readonly projections: readonly Tensor[]
}

/** The layers of a SiT, declared in the order in which the reference's state dict lists them. */
class Network {
  readonly positions: Parameter
  readonly patchEmbed: PatchEmbed
  readonly timeEmbedder: readonly Linear[]
  readonly labelTable: Parameter
  readonly blocks: readonly Block[]
  /** The adaLN projections of all blocks and of the final layer, side by side. */
  readonly adaLN: { readonly weight: Parameter; readonly bias: Parameter }
  readonly projectors: readonly (readonly Linear[])[]
  readonly final: Linear

  constructor(list: ParameterList, config: SiTConfig) {
    const { depth, hidden, patch, channels, inputSize, projectorWidth } = config
    const [rows, columns] = [inputSize[0] / patch, inputSize[1] / patch]
    const positions = values(() => sinCosPositions(hidden, rows, columns))
    this.positions = list.declare('pos_embed', [rows * columns, hidden], positions, {
      trainable: false,
      fileShape: [1, rows * columns, hidden],
    })
    this.patchEmbed = new PatchEmbed(list, 'x_embedder.proj', { channels, patch, hidden })
    this.timeEmbedder = [
      new Linear(list, 't_embedder.mlp.0', FREQUENCIES, hidden, normal(0.02)),
      new Linear(list, 't_embedder.mlp.2', hidden, hidden, normal(0.02)),
    ]
    const labels = config.classes + (config.classDropout > 0 ? 1 : 0)
    this.labelTable = list.declare('y_embedder.embedding_table.weight', [labels, hidden], normal(0.02))

    // All blocks see one condition, so the adaLN projections of a step are one product: their weights stand side by side in
    // one parameter, and files hold its parts under the blocks' names.
    const chunks = depth * CHUNKS_PER_BLOCK + 2
    const weight = list.declareShared('adaLN_modulation.weight', [chunks * hidden, hidden])
    const bias = list.declareShared('adaLN_modulation.bias', [chunks * hidden])
    const adaLN: AdaLNPart = (name, count) => {
      weight.part(`${name}.weight`, [count * hidden, hidden], zeros)
      bias.part(`${name}.bias`, [count * hidden], zeros)
    }
    this.adaLN = { weight: weight.parameter, bias: bias.parameter }
    this.blocks = Array.from({ length: depth }, (_, index) => new Block(list, index, config, adaLN))
    this.projectors = config.alignWidths.map((width, index) => [
      new Linear(list, `projectors.${index}.0`, hidden, projectorWidth),
      new Linear(list, `projectors.${index}.2`, projectorWidth, projectorWidth),
      new Linear(list, `projectors.${index}.4`, projectorWidth, width),
    ])
    this.final = new Linear(list, 'final_layer.linear', hidden, patch * patch * channels, zeros)
    adaLN('final_layer.adaLN_modulation.1', 2)
  }
}

/** The state dict that a SiT of this configuration has, in its order: names and shapes, without memory for them. */
export function sitEntries(config: SiTConfig): readonly StateEntry[] {
  const list = new ParameterList()
  new Network(list, config)
  return list.entries
}

export class SiT extends Model {
  #config: SiTConfig
  #network: Network

  private constructor(config: SiTConfig, device: Device) {
    const list = new ParameterList()
    const network = new Network(list, config)
    super(list, device)
    this.#config = config
    this.#network = network
  }

  get config(): SiTConfig {
    return this.#config
  }

  /**
   * A SiT with its initial weights. `model` is a preset (`SiT-XL/2`) or free sizes; `inputSize` defaults to 32 x 32, the
   * latents of 256-pixel images.
   */
  static create(
    model: SiTPreset | Pick<SiTOptions, 'depth' | 'hidden' | 'heads' | 'patch'>,
    options: Partial<Omit<SiTOptions, 'kind'>> & { device?: Device; seed?: number } = {},
  ): SiT {
    const { device = 'cpu', seed = 0, ...rest } = options
    const size = typeof model === 'string' ? SIT_PRESETS[model] : model
    if (!size) {
      throw new RangeError(`There is no model "${model}": expected one of ${Object.keys(SIT_PRESETS).join(', ')}.`)
    }
    const sit = SiT.fromConfig(parseSiTConfig({ kind: 'SiT', inputSize: [32, 32], ...size, ...rest }), device)
    sit.initialise(seed)
    return sit
  }

  /** The state dict's tensors of a model of this configuration, in the reference's order. Takes no memory for them. */
  static entriesOf(config: SiTConfig): readonly StateEntry[] {
    const list = new ParameterList()
    new Network(list, config)
    return list.entries
  }

  /** A SiT with undefined weights: for loading a state dict. */
  static fromConfig(config: SiTConfig, device: Device): SiT {
    return new SiT(config, device)
  }

  /**
   * Gives the model projectors for encoders of these feature widths, with fresh weights, after block `depth`; every other
   * weight stays as it is.
   */
  align({ widths, depth, seed = 0 }: { widths: readonly number[]; depth: number; seed?: number }): void {
    const config = parseSiTConfig({ ...this.#config, alignWidths: [...widths], alignDepth: depth })
    const list = new ParameterList()
    const network = new Network(list, config)
    this.redeclare(list, seed)
    this.#config = config
    this.#network = network
  }

  /** The label that stands for no label: the last row of the label table. */
  get nullClass(): number {
    return this.#config.classes
  }

  /** Tokens of an input. */
  get tokens(): number {
    const [height, width] = this.#config.inputSize
    return (height / this.#config.patch) * (width / this.#config.patch)
  }

  /**
   * x [B, C, H, W], t [B] in [0, 1] (1 is noise), labels i32 [B] (already dropped, in training) → the velocity, and with
   * `project` the projections of the hidden states for every encoder. `observe` is shown what arises on the way: the time's
   * features `t_freq` [B, 256] and embedding `t_embedder`, the label's `y_embedder` and their sum `c`, [B, D] each; the
   * `modulation` [B, 6·depth + 2, D]; `tokens` [B, T, D], which enter the first block; of block N (from 0) `blocks.N.attn.qkv`
   * [B, T, 3D] and its output `blocks.N`; and `final_layer` [B, T, p·p·C].
   */
  forward(
    x: Tensor,
    t: Tensor,
    labels: Tensor,
    { project = false, observe }: { project?: boolean; observe?: Observe } = {},
  ): SiTOutput {
    return scope(() => {
      const modulation = this.#modulation(t, labels, observe)
      const { blocks } = this.#network
      const tokens = this.#network.patchEmbed.embed(x, this.#network.positions.value)
      observe?.('tokens', tokens)
      const dtype = blocks[0]!.dtype
      let hidden: Joined = {
        stream: tokens,
        modulated: layerNormModulate(tokens, modulation, { ...entryModulation(0), dtype }),
      }
      let projections: readonly Tensor[] = []
      blocks.forEach((block, index) => {
        const input = hidden
        hidden = scope(() => block.forward(input, modulation, index + 1, observe))
        release(input.stream)
        release(input.modulated)
        observe?.(`blocks.${index}`, hidden.stream)
        if (project && index + 1 === this.#config.alignDepth) projections = this.#project(hidden.stream)
      })
      return { velocity: this.#head(hidden.modulated, observe), projections }
    })
  }

  /** The modulation [B, 6·depth + 2, D] of all blocks and the final layer from one product. */
  #modulation(t: Tensor, labels: Tensor, observe?: Observe): Tensor {
    const frequencies = timestepEmbedding(t, FREQUENCIES)
    // The condition and the modulation are f32 under every precision: they are small, and every block reads them.
    const time = mlp(frequencies, this.#network.timeEmbedder, 'silu', 'f32')
    const label = embedding(this.#network.labelTable.value, labels)
    const condition = add(time, label)
    const adaLN: LinearWeights = { weight: this.#network.adaLN.weight.compute, bias: this.#network.adaLN.bias.value }
    const { depth, hidden } = this.#config
    const modulation = reshape(linear(silu(condition), adaLN, 'f32'), [
      t.shape[0]!,
      depth * CHUNKS_PER_BLOCK + 2,
      hidden,
    ])
    if (observe) {
      observe('t_freq', frequencies)
      observe('t_embedder', time)
      observe('y_embedder', label)
      observe('c', condition)
      observe('modulation', modulation)
    }
    return modulation
  }

  #project(hidden: Tensor): Tensor[] {
    return this.#network.projectors.map((projector) => scope(() => mlp(hidden, projector, 'silu')))
  }

  #head(modulated: Tensor, observe?: Observe): Tensor {
    const { patch, channels, inputSize } = this.#config
    const patches = linear(modulated, this.#network.final, 'f32')
    observe?.('final_layer', patches)
    const [height, width] = inputSize
    return unpatchify(patches, { channels, height, width, patch })
  }
}
