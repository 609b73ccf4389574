import { join } from 'node:path'
import { expect, test } from 'vitest'
import { forwardFlops } from '../../src/benchmark/flops.ts'
import { benchmarkSampling } from '../../src/benchmark/sampling.ts'

const worker = (mode: string) => [process.execPath, join(import.meta.dirname, 'fake-worker.mjs'), mode] as const
const model = { depth: 1, hidden: 48, heads: 2, patch: 8 }

test('times our own batches', async () => {
  const seen: number[] = []
  const result = await benchmarkSampling({
    model,
    batch: 2,
    steps: 4,
    rounds: 2,
    onRound: ({ index }) => seen.push(index),
  })
  expect(seen).toEqual([0, 1])
  const { ours } = result
  // Of the times 1, 0.68, 0.36 and 0.04, three are guided.
  expect(result).toMatchObject({ batch: 2, steps: 4, evaluations: 7, precision: 'fp32', device: 'cpu' })
  expect(ours.seconds.seconds).toHaveLength(2)
  expect(ours.imagesPerSecond).toBe(2 / ours.seconds.median)
  expect(ours.secondsPerStep).toBe(ours.seconds.median / 4)
  expect(ours.shareOfLimit).toBe(ours.flops / ours.limit)
  expect(ours.peakDeviceBytes).toBeGreaterThan(4 * result.parameters)
  expect(result.ratio).toBeUndefined()
})

test.each([
  [256, 32],
  [512, 64],
] as const)('of images of %d pixels', async (size, side) => {
  const result = await benchmarkSampling({ model, size, batch: 1, steps: 1, rounds: 1 })
  expect([result.size, result.model.inputSize]).toEqual([size, [side, side]])
  const flops = result.evaluations * forwardFlops({ ...result.model, inputSize: [side, side] })
  expect(result.ours.flops).toBe(flops / result.ours.seconds.median)
})

// repa-facts: of 250 steps 172 are guided where t is at most 0.7.
test("an image in the paper's setting is 422 evaluations of the model", async () => {
  const { evaluations } = await benchmarkSampling({ model, batch: 1, steps: 250, rounds: 1 })
  expect(evaluations).toBe(422)
})

test('takes turns with a baseline', async () => {
  const result = await benchmarkSampling({ model, batch: 1, steps: 2, against: 'python', command: worker('works') })
  const { ours, baseline } = result
  expect(baseline!.seconds.seconds).toHaveLength(7)
  expect(baseline!.secondsPerStep).toBe(baseline!.seconds.median / 2)
  expect(result.ratio).toBe(baseline!.seconds.median / ours.seconds.median)
  expect(result.pairedRatio).toBeGreaterThan(0)
})

test.each([
  [{ against: 'python', command: worker('refuses') }, 'The Python baseline: the BLAS is unfit; do this.'],
  [{ precision: 'bf16' }, 'The CPU computes in fp32 only, not in bf16'],
  [{ size: 300 }, 'The size of the images is 300 pixels; expected a multiple of 8.'],
  [{ steps: 0 }, "the sampler's options: steps is 0: expected number to be >0."],
  [{ signal: AbortSignal.abort(new Error('stopped')) }, 'stopped'],
] as const)('refuses %o', async (options, message) => {
  await expect(benchmarkSampling({ model, batch: 1, steps: 2, ...options })).rejects.toThrow(message)
})
