/**
 * The head of DiT-DH (RAE, arXiv 2510.11690, after DDT, 2504.05741): a few wide blocks that see the noised input again and predict the
 * velocity, and for which what the trunk has made of a token, with the time, is the condition: every token has a modulation of its own. Names
 * are those of RAE's code (stage2/models/DDT.py, DiTwDDTHead), and so are the first values: PyTorch's own in the blocks, the trunk's too, and
 * in the projector between them.
 */
import { torchDefault, zeros } from '../nn/initialiser.ts'
import { Linear, torchLinear } from '../nn/linear.ts'
import type { ParameterList, StateEntry } from '../nn/parameter-list.ts'
import { PatchEmbed } from '../nn/patch-embed.ts'
import { add, silu } from '../tensor/ops/elementwise.ts'
import { embedding } from '../tensor/ops/embedding.ts'
import type { Joined } from '../tensor/ops/half-block.ts'
import { normModulate } from '../tensor/ops/layer-norm.ts'
import { linear } from '../tensor/ops/linear.ts'
import { reshape } from '../tensor/ops/reshape.ts'
import { keep, release, scope } from '../tensor/scope.ts'
import { Tensor } from '../tensor/tensor.ts'
import { AdaLNBlock, CHUNKS_PER_BLOCK, entryModulation, type Observe } from './adaln-block.ts'
import { declareRope } from './rotary-buffers.ts'
import { SharedModulation } from './shared-modulation.ts'
import { type DdtHeadSettings, type TransformerConfig, tokenGrid } from './transformer-config.ts'

/** What RAE's state dict begins names with, in its order. */
const ORDER = [
  ...['pos_embed', 'x_embedder', 's_embedder', 's_projector', 't_embedder', 'y_embedder', 'final_layer'],
  ...['enc_feat_rope', 'dec_feat_rope', 'blocks'],
]

/** Sorts the entries of a whole model as RAE's state dict has them; what it does not have (projectors) comes last. */
export function sortAsReference(entries: StateEntry[]): void {
  const rank = ({ name }: StateEntry): readonly [number, number] => {
    const [first, second] = name.split('.')
    const place = ORDER.indexOf(first!)
    return [place < 0 ? ORDER.length : place, first === 'blocks' ? Number(second) : 0]
  }
  entries.sort((a, b) => {
    const [one, other] = [rank(a), rank(b)]
    return one[0] - other[0] || one[1] - other[1]
  })
}

export class DdtHead {
  readonly #config: TransformerConfig
  readonly #sizes: DdtHeadSettings
  readonly #patchEmbed: PatchEmbed
  /** undefined: as wide as the trunk. */
  readonly #projector: Linear | undefined
  readonly #modulation: SharedModulation
  readonly #blocks: readonly AdaLNBlock[]
  readonly #final: Linear
  /** i32 [B·T], by batch: the sample of each token. */
  readonly #samples = new Map<number, Tensor>()

  constructor(list: ParameterList, config: TransformerConfig, sizes: DdtHeadSettings) {
    const { patch, channels, mlpRatio, qkNorm, norm, ffn } = config
    const { hidden, depth, heads } = sizes
    const grid = tokenGrid(config)
    this.#config = config
    this.#sizes = sizes
    this.#patchEmbed = new PatchEmbed(list, 'x_embedder.proj', { channels, patch, hidden })
    if (hidden !== config.hidden) this.#projector = torchLinear(list, 's_projector', config.hidden, hidden)
    this.#modulation = new SharedModulation(list, {
      hidden,
      chunks: depth * CHUNKS_PER_BLOCK + 2,
      norms: norm === 'rmsNorm' ? 2 * depth + 1 : 0,
      prefix: 'head.',
    })
    const { parts } = this.#modulation
    const rope = config.rope
      ? declareRope(list, 'dec_feat_rope', { headDim: hidden / heads, grid, before: 0 })
      : undefined
    const settings = { hidden, heads, mlpRatio, qkNorm, norm, ffn }
    this.#blocks = Array.from(
      { length: depth },
      (_, index) =>
        new AdaLNBlock(list, index, settings, {
          ...parts,
          rope,
          tokens: grid[0] * grid[1],
          firstName: config.depth,
          init: torchDefault,
        }),
    )
    parts.norm('final_layer.norm_final')
    this.#final = new Linear(list, 'final_layer.linear', hidden, patch * patch * channels, zeros)
    parts.adaLN('final_layer.adaLN_modulation.1', 2)
  }

  /**
   * The input x [B, C, H, W], what leaves the trunk [B, T, D] and the embedded times [B, D] → the patches of the velocity, [B, T, p·p·C].
   * `observe` is shown what is made of the trunk's tokens as `s`, [B, T, D] of the head, the modulation as `head.modulation`, [B·T, 6·depth + 2,
   * D], and of each block its qkv.
   */
  forward(x: Tensor, trunk: Tensor, time: Tensor, observe?: Observe): Tensor {
    const { hidden } = this.#sizes
    const [batch, tokens] = trunk.shape as [number, number, number]
    return scope(() => {
      const times = reshape(embedding(time, this.#sampleOfToken(batch, tokens)), trunk.shape)
      const encoded = silu(add(trunk, times))
      const s = this.#projector ? linear(encoded, this.#projector, 'f32') : encoded
      const { plain, applied: modulation } = this.#modulation.of(reshape(s, [batch * tokens, hidden]))
      observe?.('s', s)
      observe?.('head.modulation', plain)
      // Positions are the rotary ones alone, and the trunk's.
      const embedded = this.#patchEmbed.embed(x, Tensor.zeros([tokens, hidden], x.device))
      const stream = reshape(embedded, [batch * tokens, 1, hidden])
      const { norm } = this.#config
      const { dtype } = this.#blocks[0]!
      let joined: Joined = {
        stream,
        modulated: normModulate(stream, modulation, { ...entryModulation(0), dtype, norm }),
      }
      this.#blocks.forEach((block, index) => {
        const input = joined
        joined = scope(() => block.forward(input, modulation, index + 1, { observe }))
        release(input.stream)
        release(input.modulated)
      })
      const out = linear(joined.modulated, this.#final, 'f32')
      return reshape(out, [batch, tokens, out.shape[2]!])
    })
  }

  #sampleOfToken(batch: number, tokens: number): Tensor {
    let samples = this.#samples.get(batch)
    if (!samples) {
      const ids = Int32Array.from({ length: batch * tokens }, (_, i) => Math.floor(i / tokens))
      samples = keep(Tensor.from(ids, [ids.length], this.#final.weight.device))
      this.#samples.set(batch, samples)
    }
    return samples
  }

  /** Frees what it has made once and keeps. */
  clear(): void {
    for (const samples of this.#samples.values()) samples.dispose()
    this.#samples.clear()
  }
}
