/** Products and attention as a chip of 99 KB a block makes them, one of compute capability 8.6, 8.9 or 12.0. */
import type { Sizes } from '../tensor/ops/attention-case.ts'
import { testChip } from './chip.ts'

// Before the addon looks for its devices.
process.env.REPA_SIMT_ARCH = '86'
const { testOps } = await import('../tensor/ops/op-case.ts')
const { attentionCase, unpacked } = await import('../tensor/ops/attention-case.ts')
// By mma.sync, whatever the alignment: the table runs by wgmma elsewhere.
await import('../tensor/ops/linear.test.ts')

testChip('8.6')

/** Heads that are in shared memory elsewhere, if only in the backward pass; each of the streamed kernels' widths. */
const SIZES: readonly Sizes[] = [
  { batch: 2, tokens: 129, heads: 1, headDim: 72 },
  { batch: 1, tokens: 256, heads: 1, headDim: 64 },
  { batch: 1, tokens: 256, heads: 1, headDim: 72 },
  { batch: 1, tokens: 257, heads: 1, headDim: 80 },
  { batch: 1, tokens: 65, heads: 1, headDim: 96 },
  { batch: 1, tokens: 65, heads: 1, headDim: 128 },
]

testOps('attention', (draw) => SIZES.map((sizes) => attentionCase(sizes, draw(unpacked(sizes), 1))))
