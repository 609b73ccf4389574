// And where whole heads stream by: the tables of attention, and of the Linears beside it, whose bias gradients its backward pass sums.
import { test } from 'vitest'
import { native } from '../../src/native.ts'

if (native().cudaInfo().devices[0]?.computeCapability === '9.0') {
  process.env.REPA_ATTENTION = 'wgmma-streamed'
  await import('../tensor/ops/attention.test.ts')
  await import('../tensor/ops/linear-attention.test.ts')
} else {
  test.skip("Hopper's streamed attention kernels: there is no GPU of compute capability 9.0", () => {})
}
