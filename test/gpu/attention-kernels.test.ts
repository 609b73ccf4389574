// Attention's table of cases once more, by Hopper's own kernels wherever there is one: those that no GPU has timed yet too.
import { test } from 'vitest'
import { native } from '../../src/native.ts'

if (native().cudaInfo().devices[0]?.computeCapability === '9.0') {
  process.env.REPA_ATTENTION = 'wgmma'
  await import('../tensor/ops/attention.test.ts')
} else {
  test.skip("Hopper's attention kernels: there is no GPU of compute capability 9.0", () => {})
}
