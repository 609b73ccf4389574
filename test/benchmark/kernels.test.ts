import { expect, test } from 'vitest'
import { benchmarkKernels } from '../../src/benchmark/kernels.ts'
import { memoryStats } from '../../src/tensor/device.ts'

test('every kernel of a step runs, is measured and gives its memory back', async () => {
  const before = memoryStats('cpu').liveBytes
  const kernels = await benchmarkKernels({ batch: 1, rounds: 1 })
  const families = new Set(kernels.map(({ family }) => family))
  expect([...families]).toEqual(['GEMM', 'attention', 'layerNormModulate', 'gatedResidual', 'columnSum', 'AdamW'])
  for (const { seconds, rate, limit, share } of kernels) {
    expect(seconds).toBeGreaterThan(0)
    expect(share).toBe(rate / limit)
  }
  expect(memoryStats('cpu').liveBytes).toBe(before)
})
