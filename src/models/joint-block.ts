/**
 * The block of MMDiT (SD3, arXiv 2403.03206), as REPA's mmdit.py has it: text and image are two streams of tokens, each with an adaLN-zero
 * block's branches of its own, that meet in one attention over the tokens of both, the text's before the image's.
 */
import { type Linear, torchLinear } from '../nn/linear.ts'
import type { ParameterList } from '../nn/parameter-list.ts'
import type { ComputeDType } from '../tensor/dtype.ts'
import { type Joined, linearGatedResidualModulate, mlpGatedResidualModulate } from '../tensor/ops/half-block.ts'
import { jointAttention } from '../tensor/ops/joint-attention.ts'
import { release } from '../tensor/scope.ts'
import { tapeSection } from '../tensor/tape.ts'
import type { Tensor } from '../tensor/tensor.ts'
import { BLOCK_CHUNKS, CHUNKS_PER_BLOCK, entryAt } from './adaln-block.ts'
import type { SharedModulation } from './shared-modulation.ts'
import { ffnWidth, type TransformerConfig } from './transformer-config.ts'

/** Of a stream that nothing reads behind its attention: a shift and a scale. */
const CHUNKS_OF_ENTRY = 2

/** Where block `index` of so many finds its chunks, and where the final layer, as block `depth`, does; the text's are before the image's. */
export function jointChunks(index: number, depth: number): { readonly text: number; readonly image: number } {
  const text = 2 * CHUNKS_PER_BLOCK * index
  if (index < depth - 1) return { text, image: text + CHUNKS_PER_BLOCK }
  const image = 2 * CHUNKS_PER_BLOCK * (depth - 1) + CHUNKS_OF_ENTRY
  return { text, image: index === depth ? image + CHUNKS_PER_BLOCK : image }
}

/** Both streams between two blocks. Of the last block the text's is not there. */
export interface Streams {
  readonly text: Joined | undefined
  readonly image: Joined
}

/** What a block has for one of the streams (DismantledBlock). */
class StreamBlock {
  readonly qkv: Linear
  readonly #chunk: number
  readonly #proj: Linear | undefined
  readonly #mlp: readonly [Linear, Linear] | undefined

  /** @param isRead whether something reads the stream behind the attention */
  constructor(
    list: ParameterList,
    name: string,
    config: TransformerConfig,
    { modulation, chunk, isRead }: { modulation: SharedModulation; chunk: number; isRead: boolean },
  ) {
    const { hidden } = config
    const width = ffnWidth(config)
    this.#chunk = chunk
    this.qkv = torchLinear(list, `${name}.attn.qkv`, hidden, 3 * hidden)
    if (isRead) {
      this.#proj = torchLinear(list, `${name}.attn.proj`, hidden, hidden)
      this.#mlp = [
        torchLinear(list, `${name}.mlp.fc1`, hidden, width),
        torchLinear(list, `${name}.mlp.fc2`, width, hidden),
      ]
    }
    modulation.parts.adaLN(`${name}.adaLN_modulation.1`, isRead ? CHUNKS_PER_BLOCK : CHUNKS_OF_ENTRY)
  }

  /** The stream with what it has attended to, and its MLP; read by the chunks at `next`. Undefined where nothing reads it. */
  left(attended: Tensor, { stream }: Joined, modulation: Tensor, next: number): Joined | undefined {
    if (!this.#proj || !this.#mlp) return undefined
    const chunk = (which: keyof typeof BLOCK_CHUNKS) => this.#chunk + BLOCK_CHUNKS[which]
    const between = linearGatedResidualModulate(
      attended,
      this.#proj,
      { residual: stream, modulation, gate: chunk('gateAttention') },
      { shift: chunk('shiftMlp'), scale: chunk('scaleMlp') },
    )
    const left = mlpGatedResidualModulate(
      between.modulated,
      this.#mlp,
      'gelu-tanh',
      { residual: between.stream, modulation, gate: chunk('gateMlp') },
      entryAt(next),
    )
    release(between.stream)
    release(between.modulated)
    return left
  }
}

export class JointBlock {
  readonly #heads: number
  readonly #text: StreamBlock
  readonly #image: StreamBlock
  readonly #next: { readonly text: number; readonly image: number }

  constructor(list: ParameterList, index: number, config: TransformerConfig, modulation: SharedModulation) {
    const { depth, heads } = config
    const own = jointChunks(index, depth)
    const name = `joint_blocks.${index}`
    this.#heads = heads
    this.#next = jointChunks(index + 1, depth)
    this.#text = new StreamBlock(list, `${name}.context_block`, config, {
      modulation,
      chunk: own.text,
      isRead: index + 1 < depth,
    })
    this.#image = new StreamBlock(list, `${name}.x_block`, config, { modulation, chunk: own.image, isRead: true })
  }

  get dtype(): ComputeDType {
    return this.#image.qkv.dtype
  }

  /** Text [B, L, D] and image [B, T, D], as this block reads them → as the next one does, or behind the last the final layer. */
  forward({ text, image }: Streams, modulation: Tensor): Streams {
    return tapeSection(() => {
      const { first, rest } = jointAttention(
        { input: text!.modulated, layer: this.#text.qkv },
        { input: image.modulated, layer: this.#image.qkv },
        this.#heads,
      )
      return {
        text: this.#text.left(first, text!, modulation, this.#next.text),
        image: this.#image.left(rest, image, modulation, this.#next.image)!,
      }
    })
  }
}
