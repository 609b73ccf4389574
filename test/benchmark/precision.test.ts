import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { benchmarkGpuKernels } from '../../src/benchmark/gpu-kernels.ts'
import { GpuTrainingSide } from '../../src/benchmark/gpu-training-side.ts'
import { benchmarkSampling } from '../../src/benchmark/sampling.ts'
import { native } from '../../src/native.ts'

/** No machine has it, so that a benchmark gets as far as to the precision. */
const options = { device: 'cuda:99', precision: 'tf32' } as const

let set: boolean[]
beforeEach(() => {
  set = []
  vi.spyOn(native(), 'allowTf32').mockImplementation((_, on) => {
    set.push(on)
  })
})
afterEach(() => {
  vi.restoreAllMocks()
})

test.each([
  { what: 'sampling', run: () => benchmarkSampling(options) },
  { what: 'kernels', run: () => benchmarkGpuKernels(options) },
  { what: 'a step', run: () => GpuTrainingSide.start({ ...options, rounds: 1 }) },
])('a benchmark of $what that fails lets no product be rounded to tf32 afterwards', async ({ run }) => {
  await expect(run()).rejects.toThrow(/cuda:99/)
  expect(set).toEqual([true, false])
})
