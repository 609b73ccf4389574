/**
 * Attention as a chip of compute capability 10.0 makes it: with as much shared memory as Hopper's and none of its instructions, it alone holds
 * whole heads of more than 128 tokens in the backward pass by mma.sync.
 */
import type { Sizes } from '../tensor/ops/attention-case.ts'
import { testChip } from './chip.ts'

// Before the addon looks for its devices.
process.env.REPA_SIMT_ARCH = '100'
const { testOps } = await import('../tensor/ops/op-case.ts')
const { attentionCase, unpacked } = await import('../tensor/ops/attention-case.ts')

testChip('10.0')

const SIZES: readonly Sizes[] = [64, 72, 80].flatMap((headDim) => [
  { batch: 1, tokens: 129, heads: 1, headDim },
  { batch: 1, tokens: 200, heads: 3, headDim },
  { batch: 1, tokens: 256, heads: 1, headDim },
])

testOps('attention', (draw) => SIZES.map((sizes) => attentionCase(sizes, draw(unpacked(sizes), 1))))
