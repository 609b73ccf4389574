/**
 * MMDiT (SD3, arXiv 2403.03206) as REPA trains it on captions (mmdit.py): patches with fixed positions, a condition of the time alone, text as
 * a stream of tokens beside the image's, and a modulated linear head; with REPA's projectors on the image's tokens. Parameter names, shapes,
 * order and first values are those of that file, which leaves the latter to PyTorch.
 */
import { torchDefault, values } from '../nn/initialiser.ts'
import { type Linear, torchLinear } from '../nn/linear.ts'
import type { ParameterList } from '../nn/parameter-list.ts'
import { PatchEmbed } from '../nn/patch-embed.ts'
import { normModulate } from '../tensor/ops/layer-norm.ts'
import { linear } from '../tensor/ops/linear.ts'
import type { Parameter } from '../tensor/parameter.ts'
import { release, scope } from '../tensor/scope.ts'
import type { Tensor } from '../tensor/tensor.ts'
import { entryAt, type Observe } from './adaln-block.ts'
import { JointBlock, jointChunks, type Streams } from './joint-block.ts'
import { sinCosPositions } from './positions.ts'
import { declareProjectors, type Projector } from './projector.ts'
import { SelfAlignmentHead } from './self-alignment-head.ts'
import { SharedModulation } from './shared-modulation.ts'
import { TimeEmbedder } from './time-embedder.ts'
import { type TextSettings, type TransformerConfig, tokenGrid } from './transformer-config.ts'
import {
  type ForwardOptions,
  type HiddenStatesOptions,
  imageOf,
  type TransformerNetwork,
  type TransformerOutput,
} from './transformer-network.ts'

export class JointNetwork implements TransformerNetwork {
  readonly projectors: readonly Projector[]
  readonly selfAlignmentHead: SelfAlignmentHead | undefined
  readonly hasClassToken = false
  readonly #config: TransformerConfig
  readonly #text: TextSettings
  readonly #positions: Parameter
  readonly #patchEmbed: PatchEmbed
  readonly #timeEmbedder: TimeEmbedder
  readonly #textEmbedder: Linear
  readonly #blocks: readonly JointBlock[]
  readonly #modulation: SharedModulation
  readonly #head: Linear

  constructor(list: ParameterList, config: TransformerConfig, text: TextSettings) {
    const { depth, hidden, patch, channels } = config
    const [rows, columns] = tokenGrid(config)
    const init = torchDefault
    this.#config = config
    this.#text = text
    this.#positions = list.declare(
      'pos_embed',
      [rows * columns, hidden],
      values(() => sinCosPositions(hidden, rows, columns)),
      { trainable: false, isBuffer: true, fileShape: [1, rows * columns, hidden] },
    )
    this.#patchEmbed = new PatchEmbed(list, 'x_embedder.proj', { channels, patch, hidden, init })
    this.#timeEmbedder = new TimeEmbedder(list, { hidden, init })
    this.#textEmbedder = torchLinear(list, 'context_embedder', text.width, hidden)
    const chunks = jointChunks(depth, depth).image + 2
    this.#modulation = new SharedModulation(list, { hidden, chunks, norms: 0, init: init(hidden) })
    this.#blocks = Array.from({ length: depth }, (_, index) => new JointBlock(list, index, config, this.#modulation))
    this.#head = torchLinear(list, 'final_layer.linear', hidden, patch * patch * channels)
    this.#modulation.parts.adaLN('final_layer.adaLN_modulation.1', 2)
    this.projectors = declareProjectors(list, config, init)
    if (config.selfAlignment) this.selfAlignmentHead = new SelfAlignmentHead(list, 'ap_head', { hidden })
  }

  hiddenStates(x: Tensor, t: Tensor, text: Tensor, depth: number, options: HiddenStatesOptions = {}): Tensor {
    return scope(() => this.#streams(x, t, text, depth, options).image.stream)
  }

  /**
   * Text [B, L, W] in any dtype of computation. `observe` is shown the time's features `t_freq` [B, 256] and embedding `t_embedder` [B, D];
   * the `modulation` [B, 12·depth − 2, D]; `tokens` [B, T, D] and the text's `context` [B, L, D], which enter the first block; of block N (from
   * 0) what it leaves of them, `blocks.N` and, but of the last, `context.N`; and `final_layer` [B, T, p·p·C].
   */
  run(
    x: Tensor,
    t: Tensor,
    text: Tensor,
    { project = false, classToken, route, observe, attention }: ForwardOptions = {},
  ): TransformerOutput {
    if (route) throw new TypeError('A model of text has no route past its blocks (TREAD); give it none.')
    if (attention)
      throw new TypeError("A model of text shows no block's attention (HASTE): it is of text and image at once.")
    return scope(() => {
      let projections: readonly Tensor[] = []
      const { image } = this.#streams(x, t, text, this.#blocks.length, { classToken, observe }, (stream, depth) => {
        if (!project || depth !== this.#config.alignDepth) return
        projections = this.projectors.map((projector) => projector.forward(stream, tokenGrid(this.#config)))
      })
      const patches = linear(image.modulated, this.#head, 'f32')
      observe?.('final_layer', patches)
      return { prediction: imageOf(this.#config, patches), projections }
    })
  }

  clear(): void {}

  /** What leaves block `depth` (from 1), as the next or the final layer reads it; `show` is shown the image's tokens behind every block. */
  #streams(
    x: Tensor,
    t: Tensor,
    text: Tensor,
    depth: number,
    { classToken, observe }: HiddenStatesOptions,
    show?: (stream: Tensor, depth: number) => void,
  ): Streams {
    if (classToken) throw new TypeError('A model of text denoises no class token (REG); give it none.')
    const modulation = this.#modulate(t, observe)
    let streams = this.#enter(x, text, modulation, observe)
    for (const [index, block] of this.#blocks.slice(0, depth).entries()) {
      streams = this.#through(block, streams, modulation)
      observe?.(`blocks.${index}`, streams.image.stream)
      if (streams.text) observe?.(`context.${index}`, streams.text.stream)
      show?.(streams.image.stream, index + 1)
    }
    return streams
  }

  /** The modulation of all blocks and the final layer by times [B]. */
  #modulate(t: Tensor, observe?: Observe): Tensor {
    const { applied } = this.#modulation.of(this.#timeEmbedder.forward(t, observe))
    observe?.('modulation', applied)
    return applied
  }

  #enter(x: Tensor, text: Tensor, modulation: Tensor, observe?: Observe): Streams {
    const { tokens, width } = this.#text
    if (String(text.shape) !== String([x.shape[0], tokens, width])) {
      throw new RangeError(
        `The text is of shape [${text.shape}]; the model takes ${tokens} hidden states of ${width} for each of ${x.shape[0]} samples.`,
      )
    }
    const image = this.#patchEmbed.embed(x, this.#positions.value)
    const context = linear(text, this.#textEmbedder, 'f32')
    observe?.('tokens', image)
    observe?.('context', context)
    const { dtype } = this.#blocks[0]!
    const first = jointChunks(0, this.#config.depth)
    const read = (stream: Tensor, chunk: number) => ({
      stream,
      modulated: normModulate(stream, modulation, { ...entryAt(chunk), dtype }),
    })
    return { text: read(context, first.text), image: read(image, first.image) }
  }

  #through(block: JointBlock, input: Streams, modulation: Tensor): Streams {
    const output = scope(() => block.forward(input, modulation))
    for (const joined of [input.text, input.image]) {
      if (!joined) continue
      release(joined.stream)
      release(joined.modulated)
    }
    return output
  }
}
