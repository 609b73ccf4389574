/**
 * The adaLN-zero block of DiT (arXiv 2212.09748), which SiT shares: attention and an MLP, each reading the stream through a
 * LayerNorm modulated by the condition and joining it through a gate.
 */
import { ones, zeros } from '../nn/initialiser.ts'
import { Linear } from '../nn/linear.ts'
import type { ParameterList } from '../nn/parameter-list.ts'
import type { ComputeDType } from '../tensor/dtype.ts'
import { attention, linearAttention, qkNorm } from '../tensor/ops/attention.ts'
import { type Joined, linearGatedResidualModulate, mlpGatedResidualModulate } from '../tensor/ops/half-block.ts'
import { type GatedResidual, linear, mlpGatedResidual } from '../tensor/ops/linear.ts'
import type { Parameter } from '../tensor/parameter.ts'
import { release } from '../tensor/scope.ts'
import { tapeSection } from '../tensor/tape.ts'
import type { Tensor } from '../tensor/tensor.ts'

/** What a block's parameters and computation depend on. */
export interface AdaLNBlockConfig {
  readonly hidden: number
  readonly heads: number
  /** Hidden width of the MLP over `hidden`. */
  readonly mlpRatio: number
  /** LayerNorm of queries and keys over head_dim. */
  readonly qkNorm: boolean
}

/** Chunks of the modulation that a block uses, in the reference's order. */
const BLOCK_CHUNKS = { shiftAttention: 0, scaleAttention: 1, gateAttention: 2, shiftMlp: 3, scaleMlp: 4, gateMlp: 5 }
export const CHUNKS_PER_BLOCK = 6

/** The modulation with which block `index` reads the stream first; the final layer's follows the last block's in the same way. */
export function entryModulation(index: number): { shift: number; scale: number } {
  const first = index * CHUNKS_PER_BLOCK
  return { shift: first + BLOCK_CHUNKS.shiftAttention, scale: first + BLOCK_CHUNKS.scaleAttention }
}

/** Is shown a forward pass's tensors by name; they live as long as the pass, so what is to stay is aliased and kept. */
export type Observe = (name: string, tensor: Tensor) => void

/** Adds the entries of one adaLN projection, [chunks·hidden, hidden] and its bias, to the model's shared one. */
export type AdaLNPart = (name: string, chunks: number) => void

export class AdaLNBlock {
  readonly #qkv: Linear
  readonly #proj: Linear
  readonly #fc1: Linear
  readonly #fc2: Linear
  readonly #qkNorm: { [K in 'qWeight' | 'qBias' | 'kWeight' | 'kBias']: Parameter } | undefined
  readonly #name: string
  readonly #heads: number
  readonly #chunk: number

  constructor(list: ParameterList, index: number, config: AdaLNBlockConfig, adaLN: AdaLNPart) {
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
  forward(input: Joined, modulation: Tensor, next: number, observe?: Observe): Joined {
    return this.#run(input, modulation, observe, ({ modulated }, target) =>
      mlpGatedResidualModulate(modulated, [this.#fc1, this.#fc2], 'gelu-tanh', target, entryModulation(next)),
    )
  }

  /** The stream that leaves `forward`, alone: for where the next block reads another. */
  stream(input: Joined, modulation: Tensor, observe?: Observe): Tensor {
    return this.#run(input, modulation, observe, ({ modulated }, target) =>
      mlpGatedResidual(modulated, [this.#fc1, this.#fc2], 'gelu-tanh', target),
    )
  }

  /** `mlp`: how the second branch joins the stream. */
  #run<Left>(
    { stream, modulated }: Joined,
    modulation: Tensor,
    observe: Observe | undefined,
    mlp: (attended: Joined, target: GatedResidual) => Left,
  ): Left {
    const chunk = (which: keyof typeof BLOCK_CHUNKS) => this.#chunk + BLOCK_CHUNKS[which]
    // The weight gradients of a block's four layers are one launch.
    return tapeSection(() => {
      const attended = linearGatedResidualModulate(
        this.#attention(modulated, observe),
        this.#proj,
        { residual: stream, modulation, gate: chunk('gateAttention') },
        { shift: chunk('shiftMlp'), scale: chunk('scaleMlp') },
      )
      const left = mlp(attended, { residual: attended.stream, modulation, gate: chunk('gateMlp') })
      release(attended.stream)
      release(attended.modulated)
      return left
    })
  }

  #attention(x: Tensor, observe?: Observe): Tensor {
    const name = `${this.#name}.attn.qkv`
    if (!this.#qkNorm) {
      const { qkv, o } = linearAttention(x, this.#qkv, this.#heads)
      observe?.(name, qkv)
      return o
    }
    const qkv = linear(x, this.#qkv)
    observe?.(name, qkv)
    const { qWeight, qBias, kWeight, kBias } = this.#qkNorm
    const weights = { qWeight: qWeight.value, qBias: qBias.value, kWeight: kWeight.value, kBias: kBias.value }
    return attention(qkNorm(qkv, weights, this.#heads), this.#heads)
  }
}
