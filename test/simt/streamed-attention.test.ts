/** Attention as every GPU streams it, of heads too that would fit into shared memory: REPA_ATTENTION=mma-streamed. */
import type { Sizes } from '../tensor/ops/attention-case.ts'

// Before the kernels are chosen.
process.env.REPA_ATTENTION = 'mma-streamed'
const { testOps } = await import('../tensor/ops/op-case.ts')
const { attentionCase, unpacked } = await import('../tensor/ops/attention-case.ts')

/** One stage of 64 keys and several, full and not, and each of the kernels' widths. */
const SIZES: readonly Sizes[] = [
  { batch: 2, tokens: 1, heads: 2, headDim: 8 },
  { batch: 1, tokens: 17, heads: 2, headDim: 32 },
  { batch: 1, tokens: 64, heads: 1, headDim: 64 },
  { batch: 2, tokens: 129, heads: 1, headDim: 72 },
  { batch: 1, tokens: 256, heads: 1, headDim: 72 },
  { batch: 1, tokens: 257, heads: 1, headDim: 80 },
  { batch: 1, tokens: 65, heads: 1, headDim: 96 },
  { batch: 1, tokens: 129, heads: 1, headDim: 128 },
]

testOps('attention', (draw) => SIZES.map((sizes) => attentionCase(sizes, draw(unpacked(sizes), 1))))
