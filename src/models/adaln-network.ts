/**
 * The network that DiT (arXiv 2212.09748) and SiT (arXiv 2401.08740) share: patches with fixed positions, a condition made of time and
 * label, adaLN-zero blocks and a modulated linear head; and REPA's projectors (arXiv 2410.06940), which map the hidden states after
 * one block to the features of frozen encoders. Parameter names, shapes, order and initialisation are those of the reference's
 * models.py of all three, and where blocks are LightningDiT's (arXiv 2501.01423), of its lightningdit.py.
 */
import { normal, torchDefault, values, zeros } from '../nn/initialiser.ts'
import { Linear } from '../nn/linear.ts'
import type { ParameterList } from '../nn/parameter-list.ts'
import { PatchEmbed } from '../nn/patch-embed.ts'
import { add, silu } from '../tensor/ops/elementwise.ts'
import { embedding } from '../tensor/ops/embedding.ts'
import type { Joined } from '../tensor/ops/half-block.ts'
import { normModulate } from '../tensor/ops/layer-norm.ts'
import { linear } from '../tensor/ops/linear.ts'
import { mergeSubset, takeSubset } from '../tensor/ops/token-subset.ts'
import { dropTokens, firstToken } from '../tensor/ops/tokens.ts'
import type { Parameter } from '../tensor/parameter.ts'
import { release, scope } from '../tensor/scope.ts'
import type { Tensor } from '../tensor/tensor.ts'
import { AdaLNBlock, CHUNKS_PER_BLOCK, entryModulation, type Observe } from './adaln-block.ts'
import { watcherOf } from './attention-watch.ts'
import { ClassTokenEntry } from './class-token.ts'
import { DdtHead, sortAsReference } from './ddt-head.ts'
import { sinCosPositions } from './positions.ts'
import { declareProjectors, type Projector } from './projector.ts'
import { declareRope } from './rotary-buffers.ts'
import { SelfAlignmentHead } from './self-alignment-head.ts'
import { SharedModulation } from './shared-modulation.ts'
import { TimeEmbedder } from './time-embedder.ts'
import { type TransformerConfig, tokenGrid } from './transformer-config.ts'
import {
  type ForwardOptions,
  type HiddenStatesOptions,
  imageOf,
  outputChannels,
  type TransformerNetwork,
  type TransformerOutput,
} from './transformer-network.ts'

/** The layers, declared in the order in which the reference's state dict lists them. */
export class AdaLNNetwork implements TransformerNetwork {
  readonly #config: TransformerConfig
  readonly #positions: Parameter
  readonly #patchEmbed: PatchEmbed
  readonly #timeEmbedder: TimeEmbedder
  readonly #labelTable: Parameter
  readonly #blocks: readonly AdaLNBlock[]
  /** Of all blocks, and of the final layer where that is the trunk's. */
  readonly #modulation: SharedModulation
  readonly projectors: readonly Projector[]
  readonly selfAlignmentHead: SelfAlignmentHead | undefined
  /** The last layer, or the blocks that are in its place. */
  readonly #head: Linear | DdtHead
  readonly #classToken: { readonly entry: ClassTokenEntry; readonly final: Linear } | undefined

  constructor(list: ParameterList, config: TransformerConfig) {
    this.#config = config
    const { depth, hidden, patch, channels } = config
    const [rows, columns] = tokenGrid(config)
    // The class token's is zero.
    const before = config.classTokenWidth === undefined ? 0 : 1
    const entries = before + rows * columns
    const positions = values(() => {
      const table = new Float32Array(entries * hidden)
      table.set(sinCosPositions(hidden, rows, columns), before * hidden)
      return table
    })
    this.#positions = list.declare('pos_embed', [entries, hidden], positions, {
      trainable: false,
      fileShape: [1, entries, hidden],
    })
    const { ddtHead } = config
    const head = ddtHead && new DdtHead(list, config, ddtHead)
    this.#patchEmbed = new PatchEmbed(list, head ? 's_embedder.proj' : 'x_embedder.proj', { channels, patch, hidden })
    this.#timeEmbedder = new TimeEmbedder(list, { hidden, drawn: head !== undefined })
    const labels = config.classes + (config.classDropout > 0 ? 1 : 0)
    this.#labelTable = list.declare('y_embedder.embedding_table.weight', [labels, hidden], normal(0.02))

    this.#modulation = new SharedModulation(list, {
      hidden,
      chunks: depth * CHUNKS_PER_BLOCK + (head ? 0 : 2),
      norms: config.norm === 'rmsNorm' ? 2 * depth + (head ? 0 : 1) : 0,
    })
    const { headDim, rope } = { headDim: hidden / config.heads, rope: head ? 'enc_feat_rope' : 'feat_rope' }
    const parts = {
      ...this.#modulation.parts,
      rope: config.rope ? declareRope(list, rope, { headDim, grid: [rows, columns], before }) : undefined,
      init: head && torchDefault,
    }
    this.#blocks = Array.from({ length: depth }, (_, index) => new AdaLNBlock(list, index, config, parts))
    this.projectors = declareProjectors(list, config)
    if (config.selfAlignment) this.selfAlignmentHead = new SelfAlignmentHead(list, 'ap_head', { hidden })
    if (head) {
      this.#head = head
      sortAsReference(list.entries)
      return
    }
    parts.norm('final_layer.norm_final')
    this.#head = new Linear(list, 'final_layer.linear', hidden, patch * patch * outputChannels(config), zeros)
    const { classTokenWidth: width } = config
    const finalClassToken = width && new Linear(list, 'final_layer.linear_cls', hidden, width, zeros)
    parts.adaLN('final_layer.adaLN_modulation.1', 2)
    if (finalClassToken) {
      this.#classToken = { entry: new ClassTokenEntry(list, { width, hidden }), final: finalClassToken }
    }
  }

  get hasClassToken(): boolean {
    return this.#classToken !== undefined
  }

  get #grid(): readonly [rows: number, columns: number] {
    return tokenGrid(this.#config)
  }

  get #tokens(): number {
    return this.#grid[0] * this.#grid[1]
  }

  hiddenStates(x: Tensor, t: Tensor, labels: Tensor, depth: number, options: HiddenStatesOptions = {}): Tensor {
    return scope(() => this.#trunk(x, t, labels, depth, options).left)
  }

  /**
   * The head's output [B, output channels, H, W], and with `project` the projections of the hidden states for every encoder.
   * `observe` is shown what arises on the way: the time's features `t_freq` [B, 256] and embedding `t_embedder`, the label's
   * `y_embedder` and their sum `c`, [B, D] each; the `modulation` [B, 6·depth + 2, D]; `tokens` [B, T, D], which enter the first
   * block; of block N (from 0) `blocks.N.attn.qkv` [B, T, 3D] and its output `blocks.N`; and `final_layer` [B, T, p·p·C]. With a class
   * token T is one more, and it comes first; between the ends of a `route` T is the number of kept tokens. A DDT head shows more
   * (ddt-head.ts).
   */
  run(x: Tensor, t: Tensor, labels: Tensor, { project = false, ...options }: ForwardOptions = {}): TransformerOutput {
    return scope(() => {
      const { observe } = options
      const head = this.#head
      let projections: readonly Tensor[] = []
      const { left, modulated, time } = this.#trunk(x, t, labels, this.#blocks.length, options, (stream, depth) => {
        if (!project || depth !== this.#config.alignDepth) return
        projections = this.projectors.map((projector) => projector.forward(stream, this.#grid))
      })
      if (head instanceof DdtHead) {
        const patches = head.forward(x, left, time, observe)
        observe?.('final_layer', patches)
        return { prediction: imageOf(this.#config, patches), projections }
      }
      return { ...this.#predict(modulated, head, observe), projections }
    })
  }

  /**
   * What is `left` by block `last` (from 1), what the next or the final layer reads of it, `modulated`, and the embedded times. `show` is
   * shown what every block leaves.
   */
  #trunk(
    x: Tensor,
    t: Tensor,
    labels: Tensor,
    last: number,
    { classToken, route, observe, attention }: Omit<ForwardOptions, 'project'>,
    show?: (left: Tensor, depth: number) => void,
  ): { readonly left: Tensor; readonly modulated: Tensor; readonly time: Tensor } {
    const { time, modulation } = this.#condition(t, labels, observe)
    const [blocks, head] = [this.#blocks, this.#head]
    let hidden = this.#enter(x, classToken, modulation, observe)
    let left = hidden.stream
    let all: Tensor | undefined
    blocks.slice(0, last).forEach((block, index) => {
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
      show?.(left, depth)
    })
    return { left, modulated: hidden.modulated, time }
  }

  /** The tokens, and what the first block reads of them. */
  #enter(x: Tensor, classToken: Tensor | undefined, modulation: Tensor, observe?: Observe): Joined {
    const tokens = this.#tokensOf(x, classToken)
    observe?.('tokens', tokens)
    return this.#read(tokens, modulation, 0)
  }

  /** A stream, and what block `index` reads of it, from 0: the final layer behind the last. */
  #read(stream: Tensor, modulation: Tensor, index: number): Joined {
    const { dtype } = this.#blocks[0]!
    const { norm } = this.#config
    return { stream, modulated: normModulate(stream, modulation, { ...entryModulation(index), dtype, norm }) }
  }

  #tokensOf(x: Tensor, classToken: Tensor | undefined): Tensor {
    const [patchEmbed, positions, own] = [this.#patchEmbed, this.#positions, this.#classToken]
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
    const patches = patchEmbed.embed(x, positions.value.view(hidden, [this.#tokens, hidden]))
    const tokens = own.entry.joined(classToken, positions.value.view(0, [1, hidden]), patches)
    release(patches)
    return tokens
  }

  /**
   * The embedded times [B, D], and the modulation [B, 6·depth + 2, D] of all blocks and the final layer, or of all blocks alone where the head
   * is another; where norms have weights, with their factors in place of the scales.
   */
  #condition(t: Tensor, labels: Tensor, observe?: Observe): { time: Tensor; modulation: Tensor } {
    const [timeEmbedder, labelTable, modulation, head] = [
      this.#timeEmbedder,
      this.#labelTable,
      this.#modulation,
      this.#head,
    ]
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
    const own = this.#classToken
    const classToken = own && linear(firstToken(modulated), own.final, 'f32')
    // The class token's row is made too and left out here, where a copy of the others is narrowest.
    const all = linear(modulated, final, 'f32')
    release(modulated)
    observe?.('final_layer', all)
    return { prediction: imageOf(this.#config, own ? dropTokens(all, 1) : all), classToken }
  }

  clear(): void {
    if (this.#head instanceof DdtHead) this.#head.clear()
  }
}
