import { expect, test } from 'vitest'
import { gpuKernelSizes } from '../../src/benchmark/gpu-kernels.ts'
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

test('larger images have more tokens', async () => {
  const shapeOf = async (size?: number) => {
    const kernels = await benchmarkKernels({ ...(size !== undefined && { size }), batch: 1, rounds: 1 })
    return kernels.find(({ family, name }) => family === 'attention' && name === 'forward')!.shape
  }
  expect([await shapeOf(), await shapeOf(512)]).toEqual(['1 x 6 heads, 256 x 64', '1 x 6 heads, 1024 x 64'])
  expect(gpuKernelSizes('SiT-XL/2', 64)).toMatchObject({ tokens: 256, batch: 64, hidden: 1152 })
  expect(gpuKernelSizes('SiT-XL/2', 64, 512)).toMatchObject({ tokens: 1024, batch: 64, hidden: 1152 })
})

// Latents of 33 x 33.
test('patches that do not divide the latents are refused', async () => {
  const message =
    'The latents of images of 264 pixels are 33 x 33, which patches of 2 do not divide; expected a multiple of 16 pixels.'
  await expect(benchmarkKernels({ size: 264, batch: 1 })).rejects.toThrow(message)
  expect(() => gpuKernelSizes('SiT-XL/2', 64, 264)).toThrow(message)
})
