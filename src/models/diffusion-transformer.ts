/**
 * The trunk that DiT (arXiv 2212.09748) and SiT (arXiv 2401.08740) share: patches with fixed positions, a condition made of time and
 * label, adaLN-zero blocks and a modulated linear head; and REPA's projectors (arXiv 2410.06940), which map the hidden states after
 * one block to the features of frozen encoders. Parameter names, shapes, order and initialisation are those of the reference's
 * models.py of all three, and where blocks are LightningDiT's (arXiv 2501.01423), of its lightningdit.py.
 */
import { normal, ones, values, zeros } from '../nn/initialiser.ts'
import { Linear } from '../nn/linear.ts'
import { ParameterList, type StateEntry } from '../nn/parameter-list.ts'
import { PatchEmbed } from '../nn/patch-embed.ts'
import type { Device } from '../tensor/device.ts'
import { add, silu } from '../tensor/ops/elementwise.ts'
import { embedding, timestepEmbedding } from '../tensor/ops/embedding.ts'
import type { Joined } from '../tensor/ops/half-block.ts'
import { normModulate } from '../tensor/ops/layer-norm.ts'
import { type LinearWeights, linear, mlp } from '../tensor/ops/linear.ts'
import { normFactors } from '../tensor/ops/norm-factors.ts'
import { unpatchify } from '../tensor/ops/patch.ts'
import { reshape } from '../tensor/ops/reshape.ts'
import { mergeSubset, takeSubset } from '../tensor/ops/token-subset.ts'
import { dropTokens, firstToken } from '../tensor/ops/tokens.ts'
import type { Parameter } from '../tensor/parameter.ts'
import { release, scope } from '../tensor/scope.ts'
import type { Tensor } from '../tensor/tensor.ts'
import { AdaLNBlock, CHUNKS_PER_BLOCK, entryModulation, type Observe, type SharedParts } from './adaln-block.ts'
import { ClassTokenEntry } from './class-token.ts'
import { ConvProjector } from './conv-projector.ts'
import { Model } from './model.ts'
import { sinCosPositions } from './positions.ts'
import { MLPProjector, type Projector } from './projector.ts'
import { rotaryPositions } from './rotary-positions.ts'
import { SelfAlignmentHead } from './self-alignment-head.ts'
import type { TokenRoute } from './token-route.ts'
import type { TransformerConfig } from './transformer-config.ts'

/** Width of the sinusoidal features that the time embedder takes. */
const FREQUENCIES = 256

/** Channels of the head's output. */
export function outputChannels({ channels, learnSigma }: TransformerConfig): number {
  return learnSigma ? 2 * channels : channels
}

export interface ForwardOptions {
  /** Also project the hidden states for every encoder. */
  readonly project?: boolean
  /** Of a model with a class token: that token [B, z], noised as the input is. */
  readonly classToken?: Tensor | undefined
  /** Lets tokens go past some of the blocks, in training. What is projected in between is of the others alone. */
  readonly route?: TokenRoute | undefined
  readonly observe?: Observe
}

export interface TransformerOutput {
  /** What the model says of its input, [B, C, H, W]: see each model's `forward`. */
  readonly prediction: Tensor
  /**
   * For every encoder the projected hidden states [B, T, z], with the class token's before them, or [B, kept tokens, z] inside of a route;
   * empty when not asked for.
   */
  readonly projections: readonly Tensor[]
  /** The same of the class token, [B, z], where the model has one. */
  readonly classToken?: Tensor | undefined
}

/** The layers of a diffusion transformer, declared in the order in which the reference's state dict lists them. */
class Network {
  readonly positions: Parameter
  readonly patchEmbed: PatchEmbed
  readonly timeEmbedder: readonly Linear[]
  readonly labelTable: Parameter
  readonly blocks: readonly AdaLNBlock[]
  /** The adaLN projections of all blocks and of the final layer, side by side. */
  readonly adaLN: { readonly weight: Parameter; readonly bias: Parameter }
  /** RMSNorm's weights of all blocks and of the final layer, [2·depth + 1, hidden], in the order in which they read the stream. */
  readonly norms: Parameter | undefined
  readonly projectors: readonly Projector[]
  readonly selfAlignmentHead: SelfAlignmentHead | undefined
  readonly final: Linear
  readonly classToken: { readonly entry: ClassTokenEntry; readonly final: Linear } | undefined

  constructor(list: ParameterList, config: TransformerConfig) {
    const { depth, hidden, patch, channels, inputSize, projectorWidth } = config
    const [rows, columns] = [inputSize[0] / patch, inputSize[1] / patch]
    // The class token's is zero.
    const before = config.classTokenWidth === undefined ? 0 : 1
    const entries = before + rows * columns
    const positions = values(() => {
      const table = new Float32Array(entries * hidden)
      table.set(sinCosPositions(hidden, rows, columns), before * hidden)
      return table
    })
    this.positions = list.declare('pos_embed', [entries, hidden], positions, {
      trainable: false,
      fileShape: [1, entries, hidden],
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
    const norms = config.norm === 'rmsNorm' ? list.declareShared('norms.weight', [2 * depth + 1, hidden]) : undefined
    const parts: SharedParts = {
      adaLN: (name, count) => {
        weight.part(`${name}.weight`, [count * hidden, hidden], zeros)
        bias.part(`${name}.bias`, [count * hidden], zeros)
      },
      norm: (name) => norms?.part(`${name}.weight`, [hidden], ones),
      rope: config.rope ? declareRope(list, config, before) : undefined,
    }
    this.adaLN = { weight: weight.parameter, bias: bias.parameter }
    this.norms = norms?.parameter
    this.blocks = Array.from({ length: depth }, (_, index) => new AdaLNBlock(list, index, config, parts))
    this.projectors = config.alignWidths.map((width, index) => {
      const name = `projectors.${index}`
      return config.projector === 'conv'
        ? new ConvProjector(list, name, { hidden, width })
        : new MLPProjector(list, name, { hidden, projectorWidth, width })
    })
    if (config.selfAlignment) this.selfAlignmentHead = new SelfAlignmentHead(list, 'ap_head', { hidden })
    parts.norm('final_layer.norm_final')
    this.final = new Linear(list, 'final_layer.linear', hidden, patch * patch * outputChannels(config), zeros)
    const { classTokenWidth: width } = config
    const finalClassToken = width && new Linear(list, 'final_layer.linear_cls', hidden, width, zeros)
    parts.adaLN('final_layer.adaLN_modulation.1', 2)
    if (finalClassToken) {
      this.classToken = { entry: new ClassTokenEntry(list, { width, hidden }), final: finalClassToken }
    }
  }
}

/** By which each head's queries and keys are turned, behind the `before` tokens that stand in no grid, which are not turned. */
function declareRope(list: ParameterList, config: TransformerConfig, before: number): SharedParts['rope'] {
  const { hidden, heads, patch, inputSize } = config
  const headDim = hidden / heads
  const [rows, columns] = [inputSize[0] / patch, inputSize[1] / patch]
  const tokens = before + rows * columns
  const table = (which: 'cos' | 'sin') => {
    const turns = values(() => {
      const filled = new Float32Array(tokens * headDim).fill(which === 'cos' ? 1 : 0)
      filled.set(rotaryPositions(headDim, rows, columns)[which], before * headDim)
      return filled
    })
    return list.declare(`feat_rope.freqs_${which}`, [tokens, headDim], turns, { trainable: false, isBuffer: true })
  }
  return { cos: table('cos'), sin: table('sin') }
}

/** The state dict's tensors of a model of this configuration, in the reference's order: names and shapes, without memory for them. */
export function transformerEntries(config: TransformerConfig): readonly StateEntry[] {
  const list = new ParameterList()
  new Network(list, config)
  return list.entries
}

/** The channels that forward_with_cfg guides, in DiT's code and the original SiT's. */
export const FIRST_GUIDED_CHANNELS = 3

/** What a model has for its alignment. */
export interface AlignmentParts {
  readonly widths: readonly number[]
  readonly depth: number
  readonly projector?: TransformerConfig['projector']
  readonly selfAlignment?: boolean
  /** Of a SiT. */
  readonly classTokenWidth?: number | undefined
}

export abstract class DiffusionTransformer<C extends TransformerConfig = TransformerConfig> extends Model {
  #config: C
  #network: Network

  protected constructor(config: C, device: Device) {
    const list = new ParameterList()
    const network = new Network(list, config)
    super(list, device)
    this.#config = config
    this.#network = network
  }

  get config(): C {
    return this.#config
  }

  /** How many of its first channels the model's own code guides (forward_with_cfg), of however many there are. */
  abstract get guidedChannels(): number

  /** The configuration with other values, checked. */
  protected abstract reconfigured(change: Partial<TransformerConfig>): C

  /** Input x [B, C, H, W], times t [B] and labels i32 [B] (already dropped, in training) → what the model predicts, [B, C, H, W]. */
  abstract forward(x: Tensor, t: Tensor, labels: Tensor, options?: ForwardOptions): TransformerOutput

  /**
   * Gives the model projectors for encoders of these feature widths, with fresh weights, after block `depth`, with `selfAlignment`
   * the head of that name, and with `classTokenWidth` what denoises a class token; every other weight stays as it is. What is not said of
   * projectors, head and class token stays as well.
   */
  align({ widths, depth, seed = 0, ...parts }: AlignmentParts & { seed?: number }): void {
    const config = this.reconfigured({ alignWidths: [...widths], alignDepth: depth, ...parts })
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

  /** Width of the class token that is denoised along (REG); undefined: there is none. */
  get classTokenWidth(): number | undefined {
    return this.#config.classTokenWidth
  }

  /** Rows and columns of an input's tokens. */
  get grid(): readonly [rows: number, columns: number] {
    const { inputSize, patch } = this.#config
    return [inputSize[0] / patch, inputSize[1] / patch]
  }

  /** Tokens of an input. */
  get tokens(): number {
    return this.grid[0] * this.grid[1]
  }

  /** Tokens that the blocks see: an input's, and the class token where there is one. */
  get sequenceTokens(): number {
    return this.tokens + (this.#network.classToken ? 1 : 0)
  }

  /** The hidden states [B, T, D] as they leave block `depth` (from 1), of what `forward` takes; no later block is run. */
  hiddenStates(x: Tensor, t: Tensor, labels: Tensor, depth: number): Tensor {
    if (!(Number.isInteger(depth) && depth >= 1 && depth <= this.#config.depth)) {
      throw new RangeError(
        `hiddenStates: there is no block ${depth}; the model has the blocks 1 to ${this.#config.depth}.`,
      )
    }
    return scope(() => {
      const modulation = this.#modulation(t, labels)
      let hidden = this.#enter(x, undefined, modulation)
      this.#network.blocks.slice(0, depth).forEach((block, index) => {
        const input = hidden
        hidden = scope(() => block.forward(input, modulation, index + 1))
        release(input.stream)
        release(input.modulated)
      })
      return hidden.stream
    })
  }

  /** Hidden states [B, T, D] by SRA's head: what is compared with those of the averaged model, [B, T, D]. */
  selfAlignmentProjection(hidden: Tensor): Tensor {
    const head = this.#network.selfAlignmentHead
    if (!head)
      throw new TypeError('The model has no head for self-alignment; give it one by align({ …, selfAlignment: true }).')
    return head.forward(hidden)
  }

  /**
   * The head's output [B, output channels, H, W], and with `project` the projections of the hidden states for every encoder.
   * `observe` is shown what arises on the way: the time's features `t_freq` [B, 256] and embedding `t_embedder`, the label's
   * `y_embedder` and their sum `c`, [B, D] each; the `modulation` [B, 6·depth + 2, D]; `tokens` [B, T, D], which enter the first
   * block; of block N (from 0) `blocks.N.attn.qkv` [B, T, 3D] and its output `blocks.N`; and `final_layer` [B, T, p·p·C]. With a class
   * token T is one more, and it comes first; between the ends of a `route` T is the number of kept tokens.
   */
  protected run(
    x: Tensor,
    t: Tensor,
    labels: Tensor,
    { project = false, classToken, route, observe }: ForwardOptions = {},
  ): TransformerOutput {
    return scope(() => {
      const modulation = this.#modulation(t, labels, observe)
      const { blocks } = this.#network
      let hidden = this.#enter(x, classToken, modulation, observe)
      let projections: readonly Tensor[] = []
      let all: Tensor | undefined
      blocks.forEach((block, index) => {
        const [input, depth] = [hidden, index + 1]
        let stream: Tensor
        if (route && (depth === route.from - 1 || depth === route.to)) {
          const left = scope(() => block.stream(input, modulation, observe))
          stream = all ? mergeSubset(all, left, route.kept) : left
          hidden = this.#read(all ? stream : takeSubset(left, route.kept), modulation, depth)
          all = left
        } else {
          hidden = scope(() => block.forward(input, modulation, depth, observe))
          stream = hidden.stream
        }
        release(input.stream)
        release(input.modulated)
        observe?.(`blocks.${index}`, stream)
        if (project && depth === this.#config.alignDepth) {
          projections = this.#network.projectors.map((projector) => projector.forward(stream, this.grid))
        }
      })
      return { ...this.#head(hidden.modulated, observe), projections }
    })
  }

  /** The tokens, and what the first block reads of them. */
  #enter(x: Tensor, classToken: Tensor | undefined, modulation: Tensor, observe?: Observe): Joined {
    const tokens = this.#tokensOf(x, classToken)
    observe?.('tokens', tokens)
    return this.#read(tokens, modulation, 0)
  }

  /** A stream, and what block `index` reads of it, from 0: the final layer behind the last. */
  #read(stream: Tensor, modulation: Tensor, index: number): Joined {
    const { dtype } = this.#network.blocks[0]!
    const { norm } = this.#config
    return { stream, modulated: normModulate(stream, modulation, { ...entryModulation(index), dtype, norm }) }
  }

  #tokensOf(x: Tensor, classToken: Tensor | undefined): Tensor {
    const { patchEmbed, positions, classToken: own } = this.#network
    const { hidden, classTokenWidth } = this.#config
    if (!own) {
      if (!classToken) return patchEmbed.embed(x, positions.value)
      throw new TypeError('The model has no class token; make it with classTokenWidth, or give it none.')
    }
    if (!classToken) {
      throw new TypeError(
        `The model denoises a class token along (REG): give \`classToken\`, [${x.shape[0]}, ${classTokenWidth}], noised as the input is.`,
      )
    }
    const patches = patchEmbed.embed(x, positions.value.view(hidden, [this.tokens, hidden]))
    const tokens = own.entry.joined(classToken, positions.value.view(0, [1, hidden]), patches)
    release(patches)
    return tokens
  }

  /**
   * The modulation [B, 6·depth + 2, D] of all blocks and the final layer from one product; where norms have weights, with their factors in
   * place of the scales.
   */
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
    const { norms } = this.#network
    return norms ? normFactors(modulation, norms.value) : modulation
  }

  #head(modulated: Tensor, observe?: Observe): Pick<TransformerOutput, 'prediction' | 'classToken'> {
    const { patch, inputSize } = this.#config
    const { final, classToken: own } = this.#network
    const classToken = own && linear(firstToken(modulated), own.final, 'f32')
    // The class token's row is made too and left out here, where a copy of the others is narrowest.
    const all = linear(modulated, final, 'f32')
    release(modulated)
    observe?.('final_layer', all)
    const patches = own ? dropTokens(all, 1) : all
    const [height, width] = inputSize
    return {
      prediction: unpatchify(patches, { channels: outputChannels(this.#config), height, width, patch }),
      classToken,
    }
  }
}
