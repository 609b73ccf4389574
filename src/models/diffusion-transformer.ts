/**
 * The trunk that DiT (arXiv 2212.09748) and SiT (arXiv 2401.08740) share: patches with fixed positions, a condition made of time and
 * label, adaLN-zero blocks and a modulated linear head; and REPA's projectors (arXiv 2410.06940), which map the hidden states after
 * one block to the features of frozen encoders. Parameter names, shapes, order and initialisation are those of the reference's
 * models.py of all three, and where blocks are LightningDiT's (arXiv 2501.01423), of its lightningdit.py.
 */
import { normal, values, zeros } from '../nn/initialiser.ts'
import { Linear } from '../nn/linear.ts'
import { ParameterList, type StateEntry } from '../nn/parameter-list.ts'
import { PatchEmbed } from '../nn/patch-embed.ts'
import type { Device } from '../tensor/device.ts'
import { add, silu } from '../tensor/ops/elementwise.ts'
import { embedding } from '../tensor/ops/embedding.ts'
import type { Joined } from '../tensor/ops/half-block.ts'
import { normModulate } from '../tensor/ops/layer-norm.ts'
import { linear } from '../tensor/ops/linear.ts'
import { unpatchify } from '../tensor/ops/patch.ts'
import { mergeSubset, takeSubset } from '../tensor/ops/token-subset.ts'
import { dropTokens, firstToken } from '../tensor/ops/tokens.ts'
import type { Parameter } from '../tensor/parameter.ts'
import { release, scope } from '../tensor/scope.ts'
import type { Tensor } from '../tensor/tensor.ts'
import { AdaLNBlock, entryModulation, type Observe } from './adaln-block.ts'
import { type AttentionWatch, watcherOf } from './attention-watch.ts'
import { ClassTokenEntry } from './class-token.ts'
import { ConvProjector } from './conv-projector.ts'
import { DdtHead, sortAsReference } from './ddt-head.ts'
import { Model } from './model.ts'
import { sinCosPositions } from './positions.ts'
import { MLPProjector, type Projector } from './projector.ts'
import { declareRope } from './rotary-buffers.ts'
import { SelfAlignmentHead } from './self-alignment-head.ts'
import { SharedModulation } from './shared-modulation.ts'
import { TimeEmbedder } from './time-embedder.ts'
import type { TokenRoute } from './token-route.ts'
import type { TransformerConfig } from './transformer-config.ts'

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
  /** Shows what attention reads in some of the blocks, [B, T, 3D]. */
  readonly attention?: AttentionWatch | undefined
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
  readonly timeEmbedder: TimeEmbedder
  readonly labelTable: Parameter
  readonly blocks: readonly AdaLNBlock[]
  /** Of all blocks, and of the final layer where that is the trunk's. */
  readonly modulation: SharedModulation
  readonly projectors: readonly Projector[]
  readonly selfAlignmentHead: SelfAlignmentHead | undefined
  /** The last layer, or the blocks that are in its place. */
  readonly head: Linear | DdtHead
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
    const { ddtHead } = config
    const head = ddtHead && new DdtHead(list, config, ddtHead)
    this.patchEmbed = new PatchEmbed(list, head ? 's_embedder.proj' : 'x_embedder.proj', { channels, patch, hidden })
    this.timeEmbedder = new TimeEmbedder(list, { hidden, drawn: head !== undefined })
    const labels = config.classes + (config.classDropout > 0 ? 1 : 0)
    this.labelTable = list.declare('y_embedder.embedding_table.weight', [labels, hidden], normal(0.02))

    this.modulation = new SharedModulation(list, {
      ...{ hidden, blocks: depth, final: head === undefined, hasNormWeights: config.norm === 'rmsNorm' },
    })
    const { headDim, rope } = { headDim: hidden / config.heads, rope: head ? 'enc_feat_rope' : 'feat_rope' }
    const parts = {
      ...this.modulation.parts,
      rope: config.rope ? declareRope(list, rope, { headDim, grid: [rows, columns], before }) : undefined,
    }
    this.blocks = Array.from({ length: depth }, (_, index) => new AdaLNBlock(list, index, config, parts))
    this.projectors = config.alignWidths.map((width, index) => {
      const name = `projectors.${index}`
      return config.projector === 'conv'
        ? new ConvProjector(list, name, { hidden, width })
        : new MLPProjector(list, name, { hidden, projectorWidth, width })
    })
    if (config.selfAlignment) this.selfAlignmentHead = new SelfAlignmentHead(list, 'ap_head', { hidden })
    if (head) {
      this.head = head
      sortAsReference(list.entries)
      return
    }
    parts.norm('final_layer.norm_final')
    this.head = new Linear(list, 'final_layer.linear', hidden, patch * patch * outputChannels(config), zeros)
    const { classTokenWidth: width } = config
    const finalClassToken = width && new Linear(list, 'final_layer.linear_cls', hidden, width, zeros)
    parts.adaLN('final_layer.adaLN_modulation.1', 2)
    if (finalClassToken) {
      this.classToken = { entry: new ClassTokenEntry(list, { width, hidden }), final: finalClassToken }
    }
  }

  /** Frees what was made once and kept. */
  clear(): void {
    if (this.head instanceof DdtHead) this.head.clear()
  }
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
    this.#network.clear()
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
      const { modulation } = this.#condition(t, labels)
      let hidden = this.#enter(x, undefined, modulation)
      const { blocks, head } = this.#network
      for (let index = 0; index < depth; index++) {
        const [block, input] = [blocks[index]!, hidden]
        if (head instanceof DdtHead && index + 1 === blocks.length) return scope(() => block.stream(input, modulation))
        hidden = scope(() => block.forward(input, modulation, index + 1))
        release(input.stream)
        release(input.modulated)
      }
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
   * token T is one more, and it comes first; between the ends of a `route` T is the number of kept tokens. A DDT head shows more
   * (ddt-head.ts).
   */
  protected run(
    x: Tensor,
    t: Tensor,
    labels: Tensor,
    { project = false, classToken, route, observe, attention }: ForwardOptions = {},
  ): TransformerOutput {
    return scope(() => {
      const { time, modulation } = this.#condition(t, labels, observe)
      const { blocks, head } = this.#network
      let hidden = this.#enter(x, classToken, modulation, observe)
      let left = hidden.stream
      let projections: readonly Tensor[] = []
      let all: Tensor | undefined
      blocks.forEach((block, index) => {
        const [input, depth] = [hidden, index + 1]
        const watching = { observe, showHeads: watcherOf(attention, depth) }
        if (route && (depth === route.from - 1 || depth === route.to)) {
          const alone = scope(() => block.stream(input, modulation, watching))
          left = all ? mergeSubset(all, alone, route.kept) : alone
          hidden = this.#read(all ? left : takeSubset(alone, route.kept), modulation, depth)
          all = alone
        } else if (head instanceof DdtHead && depth === blocks.length) {
          left = scope(() => block.stream(input, modulation, watching))
        } else {
          hidden = scope(() => block.forward(input, modulation, depth, watching))
          left = hidden.stream
        }
        release(input.stream)
        release(input.modulated)
        observe?.(`blocks.${index}`, left)
        if (project && depth === this.#config.alignDepth) {
          projections = this.#network.projectors.map((projector) => projector.forward(left, this.grid))
        }
      })
      if (head instanceof DdtHead) {
        const patches = head.forward(x, left, time, observe)
        observe?.('final_layer', patches)
        return { prediction: this.#image(patches), projections }
      }
      return { ...this.#predict(hidden.modulated, head, observe), projections }
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
   * The embedded times [B, D], and the modulation [B, 6·depth + 2, D] of all blocks and the final layer, or of all blocks alone where the head
   * is another; where norms have weights, with their factors in place of the scales.
   */
  #condition(t: Tensor, labels: Tensor, observe?: Observe): { time: Tensor; modulation: Tensor } {
    const { timeEmbedder, labelTable, modulation, head } = this.#network
    const time = timeEmbedder.forward(t, observe)
    const label = embedding(labelTable.value, labels)
    const condition = add(time, label)
    // RAE's code takes a SiLU of the sum, and another before every projection.
    const { plain, applied } = modulation.of(head instanceof DdtHead ? silu(condition) : condition)
    observe?.('y_embedder', label)
    observe?.('c', condition)
    observe?.('modulation', plain)
    return { time, modulation: applied }
  }

  #predict(modulated: Tensor, final: Linear, observe?: Observe): Pick<TransformerOutput, 'prediction' | 'classToken'> {
    const { classToken: own } = this.#network
    const classToken = own && linear(firstToken(modulated), own.final, 'f32')
    // The class token's row is made too and left out here, where a copy of the others is narrowest.
    const all = linear(modulated, final, 'f32')
    release(modulated)
    observe?.('final_layer', all)
    return { prediction: this.#image(own ? dropTokens(all, 1) : all), classToken }
  }

  #image(patches: Tensor): Tensor {
    const [height, width] = this.#config.inputSize
    return unpatchify(patches, { channels: outputChannels(this.#config), height, width, patch: this.#config.patch })
  }

  override dispose(): void {
    this.#network.clear()
    super.dispose()
  }
}
