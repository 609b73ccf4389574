import { join } from 'node:path'
import { expect, test } from 'vitest'
import { trainingFlops } from '../../src/benchmark/flops.ts'
import { benchmarkGpuStep } from '../../src/benchmark/gpu-step.ts'
import { benchmarkStep } from '../../src/benchmark/step.ts'
import type { Recomputation } from '../../src/tensor/recomputation.ts'

const model = { depth: 2, hidden: 48, heads: 2, patch: 8 }
const worker = (mode: string) => [process.execPath, join(import.meta.dirname, 'fake-worker.mjs'), mode] as const

test('times our own steps', async () => {
  const seen: number[] = []
  const result = await benchmarkStep({ model, batch: 2, rounds: 3, onRound: ({ index }) => seen.push(index) })
  expect(seen).toEqual([0, 1, 2])
  expect(result.baseline).toBeUndefined()
  expect(result.ratio).toBeUndefined()
  const { ours } = result
  expect(ours.seconds.seconds).toHaveLength(3)
  expect(ours.imagesPerSecond).toBe(2 / ours.seconds.median)
  expect(ours.flops).toBe((2 * trainingFlops(result.model)) / ours.seconds.median)
  expect(ours.shareOfPeak).toBe(ours.flops / ours.fmaPeak)
  // Weights, gradients, two moments and the EMA, and what a step keeps besides.
  expect(ours.peakDeviceBytes).toBeGreaterThan(5 * 4 * result.parameters)
  expect(ours.peakRssBytes).toBeGreaterThan(ours.peakDeviceBytes)
})

// The same model but for its grid, of 64 patches instead of 16.
test.each([
  [256, 32],
  [512, 64],
] as const)('on images of %d pixels', async (size, side) => {
  const result = await benchmarkStep({ model, size, batch: 1, rounds: 1 })
  expect([result.size, result.model.inputSize]).toEqual([size, [side, side]])
  expect(result.ours.flops).toBe(
    trainingFlops({ ...result.model, inputSize: [side, side] }) / result.ours.seconds.median,
  )
})

test('goes on for so many seconds after the measured steps', async () => {
  let last = { steps: 0, seconds: 0 }
  const onSustained = (sofar: typeof last) => {
    last = sofar
  }
  const { ours, sustained } = await benchmarkStep({ model, batch: 2, rounds: 1, seconds: 0.2, onSustained })
  expect(ours.seconds.seconds).toHaveLength(1)
  expect(sustained).toMatchObject(last)
  expect(sustained!.seconds).toBeGreaterThanOrEqual(0.2)
  expect(sustained!.shareOfShort).toBe(sustained!.imagesPerSecond / ours.imagesPerSecond)
  expect(sustained!.intervals).toMatchObject([{ start: 0, steps: last.steps, clocks: undefined }])
})

test('takes turns with a baseline', async () => {
  const result = await benchmarkStep({ model, batch: 2, against: 'python', command: worker('works') })
  expect(result.baseline).toMatchObject({ torch: '0.0', blas: '/lib/libopenblas.so.0', peakRssBytes: 48_000 })
  expect(result.baseline).toMatchObject({ variant: 'tuned', warmup: [0.5] })
  expect(result.baseline!.seconds.seconds).toHaveLength(7)
  expect(result.ratio).toBe(result.baseline!.seconds.median / result.ours.seconds.median)
})

test('tells the baseline how it is to train', async () => {
  const log: string[] = []
  const against = { variant: 'as-written', compile: 'default', onLog: (line: string) => log.push(line) } as const
  const { baseline } = await benchmarkStep({ model, batch: 2, against, command: worker('works') })
  expect(baseline).toMatchObject({ variant: 'as-written', compile: 'default', regions: 'whole' })
  expect(log).toEqual(['compiling as-written, default, undefined'])
})

test('takes turns with itself beside a busy process', async () => {
  const seen: (number | undefined)[] = []
  const onRound = ({ baseline }: { baseline?: number }) => seen.push(baseline)
  const { ours, beside, ratio } = await benchmarkStep({ model, batch: 2, besideBusyProcess: true, onRound })
  expect(ours.seconds.seconds).toHaveLength(7)
  expect(beside!.seconds.seconds).toHaveLength(7)
  expect(beside!.slowdown).toBe(beside!.seconds.median / ours.seconds.median)
  expect(beside!.imagesPerSecond).toBe(2 / beside!.seconds.median)
  // Neither is a baseline.
  expect(ratio).toBeUndefined()
  expect(seen).toEqual(Array(7).fill(undefined))
})

test('a GPU refuses a baseline in fp16 before it is looked for', async () => {
  const asked = benchmarkGpuStep({ device: 'cuda:0', model, precision: 'fp16', against: {} })
  await expect(asked).rejects.toThrow('The baseline computes in bf16 or fp32, not in fp16')
})

test('what is computed again takes less memory', async () => {
  const bytes = async (recompute: Recomputation) =>
    (await benchmarkStep({ model, batch: 8, rounds: 1, recompute })).ours.peakDeviceBytes
  expect(await bytes('elementwise')).toBeLessThan(await bytes('none'))
})

test.each([
  [{ against: 'python', command: worker('refuses') }, 'The Python baseline: the BLAS is unfit; do this.'],
  [{ besideBusyProcess: true, against: 'python' }, 'A baseline and a busy process cannot both be beside our step'],
  [{ seconds: 1, besideBusyProcess: true }, 'A run of so many seconds is of our step alone'],
  [{ seconds: 1, against: 'python', command: worker('works') }, 'A run of so many seconds is of our step alone'],
  [{ size: 300 }, 'The size of the images is 300 pixels; expected a multiple of 8.'],
  [{ size: 264 }, 'a patch of 8 does not divide an input of 33 x 33'],
  [{ device: 'cuda:0' }, 'benchmarkStep measures the CPU, not cuda:0; benchmarkGpuStep measures a GPU'],
  [{ signal: AbortSignal.abort(new Error('stopped')) }, 'stopped'],
] as const)('refuses %o', async (options, message) => {
  await expect(benchmarkStep({ model, batch: 1, ...options })).rejects.toThrow(message)
})

test('a baseline of other blocks than the model has is refused', async () => {
  await expect(benchmarkStep({ model: 'LightningDiT-B/2', batch: 1, against: 'python', rounds: 7 })).rejects.toThrow(
    "The baseline has REPA's blocks alone, and the model has norm rmsNorm, ffn swiglu and rope true; leave it out, or take a SiT's.",
  )
})
