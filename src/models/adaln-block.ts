/**
 * The adaLN-zero block of DiT (arXiv 2212.09748), which SiT shares: attention and an MLP, each reading the stream through a
 * LayerNorm modulated by the condition and joining it through a gate. Or, of the same shape, that of LightningDiT (arXiv 2501.01423):
 * RMSNorm for LayerNorm, SwiGLU for the MLP, queries and keys turned by their positions.
 */
import { type LayerInitialiser, ones, zeros } from '../nn/initialiser.ts'
import { Linear } from '../nn/linear.ts'
import type { ParameterList } from '../nn/parameter-list.ts'
import type { ComputeDType } from '../tensor/dtype.ts'
import { attention, linearAttention, qkNorm } from '../tensor/ops/attention.ts'
import { type Joined, linearGatedResidualModulate, mlpGatedResidualModulate } from '../tensor/ops/half-block.ts'
import { type GatedResidual, type HiddenActivation, linear, mlpGatedResidual } from '../tensor/ops/linear.ts'
import { reshape } from '../tensor/ops/reshape.ts'
import { rotate } from '../tensor/ops/rope.ts'
import type { Parameter } from '../tensor/parameter.ts'
import { release } from '../tensor/scope.ts'
import { tapeSection } from '../tensor/tape.ts'
import type { Tensor } from '../tensor/tensor.ts'
import type { ShowHeads } from './attention-watch.ts'
import { ffnWidth, type TransformerConfig } from './transformer-config.ts'

/** What a block's parameters and computation depend on. */
export type AdaLNBlockConfig = Pick<TransformerConfig, 'hidden' | 'heads' | 'mlpRatio' | 'qkNorm' | 'norm' | 'ffn'>

/** Chunks of the modulation that a block uses, in the reference's order. */
export const BLOCK_CHUNKS = {
  shiftAttention: 0,
  scaleAttention: 1,
  gateAttention: 2,
  shiftMlp: 3,
  scaleMlp: 4,
  gateMlp: 5,
}
export const CHUNKS_PER_BLOCK = 6

/** The modulation with which a block, whose chunks begin at `first`, reads the stream first. */
export function entryAt(first: number): { shift: number; scale: number } {
  return { shift: first + BLOCK_CHUNKS.shiftAttention, scale: first + BLOCK_CHUNKS.scaleAttention }
}

/** That of block `index` among blocks of six chunks; the final layer's follows the last block's in the same way. */
export const entryModulation = (index: number) => entryAt(index * CHUNKS_PER_BLOCK)

/** Is shown a forward pass's tensors by name; they live as long as the pass, so what is to stay is aliased and kept. */
export type Observe = (name: string, tensor: Tensor) => void

/** Who looks at a block's forward pass. */
export interface Watching {
  readonly observe?: Observe | undefined
  readonly showHeads?: ShowHeads | undefined
}

/** What a block has of what all blocks share. */
export interface SharedParts {
  /** Adds the entries of one adaLN projection, [chunks·hidden, hidden] and its bias, to the model's shared one. */
  readonly adaLN: (name: string, chunks: number) => void
  /** Adds the entry of one norm's weight [hidden] to the model's shared ones, where norms have weights. */
  readonly norm: (name: string) => void
  /** By which queries and keys are turned, [T, head_dim] each. */
  readonly rope: { readonly cos: Parameter; readonly sin: Parameter } | undefined
  /** Where the modulation has a sample for every token: how many of them, one behind the other, attention sees together. */
  readonly tokens?: number
  /** What the first block is called, `blocks.N`; default 0. */
  readonly firstName?: number
  /** Of weights and biases of the linear layers; default: Xavier's uniform, and zeros. */
  readonly init?: LayerInitialiser | undefined
}

type QkNormName = 'qWeight' | 'qBias' | 'kWeight' | 'kBias'

export class AdaLNBlock {
  readonly #config: AdaLNBlockConfig
  readonly #qkv: Linear
  readonly #proj: Linear
  readonly #ffn: readonly [Linear, Linear]
  readonly #activation: HiddenActivation
  readonly #qkNorm: (Partial<Record<QkNormName, Parameter>> & Record<'qWeight' | 'kWeight', Parameter>) | undefined
  readonly #rope: SharedParts['rope']
  readonly #tokens: number | undefined
  readonly #name: string
  readonly #chunk: number

  /** `index` counts the blocks of one modulation. */
  constructor(
    list: ParameterList,
    index: number,
    config: AdaLNBlockConfig,
    { adaLN, norm, rope, tokens, firstName = 0, init }: SharedParts,
  ) {
    const { hidden, heads, ffn } = config
    const name = `blocks.${firstName + index}`
    const width = ffnWidth(config)
    this.#config = config
    this.#name = name
    this.#chunk = index * CHUNKS_PER_BLOCK
    this.#rope = rope
    this.#tokens = tokens
    const layer = (place: string, input: number, output: number) =>
      new Linear(list, `${name}.${place}`, input, output, init?.(input), init?.(input))
    norm(`${name}.norm1`)
    norm(`${name}.norm2`)
    this.#qkv = layer('attn.qkv', hidden, 3 * hidden)
    if (config.qkNorm) {
      const headDim = [hidden / heads]
      const bias = (of: string) =>
        config.norm === 'rmsNorm' ? undefined : list.declare(`${name}.attn.${of}_norm.bias`, headDim, zeros)
      this.#qkNorm = {
        qWeight: list.declare(`${name}.attn.q_norm.weight`, headDim, ones),
        qBias: bias('q'),
        kWeight: list.declare(`${name}.attn.k_norm.weight`, headDim, ones),
        kBias: bias('k'),
      }
    }
    this.#proj = layer('attn.proj', hidden, hidden)
    this.#activation = ffn === 'swiglu' ? 'swiglu' : 'gelu-tanh'
    this.#ffn =
      ffn === 'swiglu'
        ? [layer('mlp.w12', hidden, 2 * width), layer('mlp.w3', width, hidden)]
        : [layer('mlp.fc1', hidden, width), layer('mlp.fc2', width, hidden)]
    adaLN(`${name}.adaLN_modulation.1`, CHUNKS_PER_BLOCK)
  }

  get dtype(): ComputeDType {
    return this.#qkv.dtype
  }

  /**
   * The stream [B, T, D] → stream + gated attention, + gated MLP. Both branches read the stream through a norm and a modulation,
   * chunks of [B, chunks, D] of all blocks, in which RMSNorm's weights are (`normFactors`). They join the stream in one op with what reads
   * it next: attention's with that of the MLP, the MLP's with that of `next`, the block or final layer of that number.
   */
  forward(input: Joined, modulation: Tensor, next: number, watching: Watching = {}): Joined {
    return this.#run(input, modulation, watching, ({ modulated }, target) =>
      mlpGatedResidualModulate(modulated, this.#ffn, this.#activation, target, {
        ...entryModulation(next),
        norm: this.#config.norm,
      }),
    )
  }

  /** The stream that leaves `forward`, alone: for where the next block reads another. */
  stream(input: Joined, modulation: Tensor, watching: Watching = {}): Tensor {
    return this.#run(input, modulation, watching, ({ modulated }, target) =>
      mlpGatedResidual(modulated, this.#ffn, this.#activation, target),
    )
  }

  /** `mlp`: how the second branch joins the stream. */
  #run<Left>(
    { stream, modulated }: Joined,
    modulation: Tensor,
    watching: Watching,
    mlp: (attended: Joined, target: GatedResidual) => Left,
  ): Left {
    const chunk = (which: keyof typeof BLOCK_CHUNKS) => this.#chunk + BLOCK_CHUNKS[which]
    // The weight gradients of a block's four layers are one launch.
    return tapeSection(() => {
      const attended = linearGatedResidualModulate(
        this.#attention(modulated, watching),
        this.#proj,
        { residual: stream, modulation, gate: chunk('gateAttention') },
        { shift: chunk('shiftMlp'), scale: chunk('scaleMlp'), norm: this.#config.norm },
      )
      const left = mlp(attended, { residual: attended.stream, modulation, gate: chunk('gateMlp') })
      release(attended.stream)
      release(attended.modulated)
      return left
    })
  }

  #attention(x: Tensor, watching: Watching): Tensor {
    const [samples, , width] = x.shape as [number, number, number]
    const tokens = this.#tokens
    if (tokens === undefined) return this.#attended(x, watching)
    return reshape(this.#attended(reshape(x, [samples / tokens, tokens, width]), watching), x.shape)
  }

  #attended(x: Tensor, { observe, showHeads }: Watching): Tensor {
    const name = `${this.#name}.attn.qkv`
    const { heads } = this.#config
    const rope = this.#rope && { cos: this.#rope.cos.value, sin: this.#rope.sin.value }
    if (!this.#qkNorm && !showHeads) {
      const { qkv, o } = linearAttention(x, this.#qkv, heads, rope)
      observe?.(name, qkv)
      return o
    }
    // Ops by themselves, between which a gradient may come in.
    const qkv = linear(x, this.#qkv)
    observe?.(name, qkv)
    const normed = this.#normed(qkv)
    const turned = rope ? rotate(normed, rope, heads) : normed
    showHeads?.({ qkv: turned, heads })
    return attention(turned, heads)
  }

  #normed(qkv: Tensor): Tensor {
    if (!this.#qkNorm) return qkv
    const { heads, norm } = this.#config
    const { qWeight, qBias, kWeight, kBias } = this.#qkNorm
    const weights = { qWeight: qWeight.value, qBias: qBias?.value, kWeight: kWeight.value, kBias: kBias?.value }
    return qkNorm(qkv, weights, heads, { norm })
  }
}
