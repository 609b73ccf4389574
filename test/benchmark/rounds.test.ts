import { expect, test } from 'vitest'
import { benchmarkDecode } from '../../src/benchmark/decode.ts'
import { benchmarkGpuKernels } from '../../src/benchmark/gpu-kernels.ts'
import { benchmarkGpuStep } from '../../src/benchmark/gpu-step.ts'
import { benchmarkKernels } from '../../src/benchmark/kernels.ts'
import { benchmarkSampling } from '../../src/benchmark/sampling.ts'
import { benchmarkStep } from '../../src/benchmark/step.ts'
import { memoryStats, resetPeakMemory } from '../../src/tensor/device.ts'

const model = { depth: 1, hidden: 48, heads: 2, patch: 8 }
const command = ['no-worker'] as const
const device = 'cuda:0'

const ALONE = {
  decode: (rounds: number) => benchmarkDecode({ size: 8, rounds }),
  'gpu-kernels': (rounds: number) => benchmarkGpuKernels({ device, rounds }),
  'gpu-step': (rounds: number) => benchmarkGpuStep({ device, model, rounds }),
  kernels: (rounds: number) => benchmarkKernels({ batch: 1, rounds }),
  sampling: (rounds: number) => benchmarkSampling({ model, batch: 1, steps: 1, rounds }),
  step: (rounds: number) => benchmarkStep({ model, batch: 1, rounds }),
}

const COMPARED = {
  decode: (rounds: number) => benchmarkDecode({ size: 8, rounds, against: 'python', command }),
  'gpu-step': (rounds: number) => benchmarkGpuStep({ device, model, rounds, against: { command } }),
  'gpu-step, in blocks': (rounds: number) =>
    benchmarkGpuStep({ device, model, rounds, against: { command, turns: 'blocks' } }),
  sampling: (rounds: number) => benchmarkSampling({ model, batch: 1, rounds, against: 'python', command }),
  step: (rounds: number) => benchmarkStep({ model, batch: 1, rounds, against: 'python', command }),
  'step beside a busy process': (rounds: number) => benchmarkStep({ model, batch: 1, rounds, besideBusyProcess: true }),
}

const refusals = (least: number, benchmarks: typeof ALONE | typeof COMPARED, counts: readonly number[]) =>
  Object.entries(benchmarks).flatMap(([name, run]) => counts.map((rounds) => [name, rounds, least, run] as const))

test.each([...refusals(1, ALONE, [0, 2.5, Number.NaN]), ...refusals(7, COMPARED, [6, 7.5])])(
  '%s refuses %d rounds before it starts anything',
  async (_, rounds, least, run) => {
    resetPeakMemory('cpu')
    const before = memoryStats('cpu').peakBytes
    await expect(run(rounds)).rejects.toThrow(
      new RangeError(`rounds is ${rounds}; a median wants an integer of at least ${least}.`),
    )
    expect(memoryStats('cpu').peakBytes).toBe(before)
  },
)
