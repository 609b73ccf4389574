import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { encoderFlops, trainingFlops } from '../../src/benchmark/flops.ts'
import type { GpuKernelSizes } from '../../src/benchmark/gpu-kernel-cases.ts'
import { benchmarkGpuKernels } from '../../src/benchmark/gpu-kernels.ts'
import { benchmarkGpuStep } from '../../src/benchmark/gpu-step.ts'
import { benchmarkSampling } from '../../src/benchmark/sampling.ts'
import { TrainingStep } from '../../src/benchmark/training-step.ts'
import { showGpuKernels, showGpuStep } from '../../src/cli/gpu-benchmark-tables.ts'
import { Output } from '../../src/cli/output.ts'
import { SiT } from '../../src/models/sit.ts'
import { visionTransformerConfigSchema } from '../../src/models/vit-config.ts'
import { memoryStats } from '../../src/tensor/device.ts'
import { RecordingStream } from '../cli/recording-stream.ts'
import { DEVICES } from '../tensor/devices.ts'

const probeSide = 64
const sizes: GpuKernelSizes = {
  depth: 1,
  hidden: 48,
  heads: 2,
  tokens: 16,
  batch: 2,
  features: 24,
  projector: 40,
  parameters: 4096,
}
/** Of images of which latents of 8 x 8 are made. */
const size = 64
const model = { depth: 2, hidden: 48, heads: 2, patch: 2, classes: 10, projectorWidth: 64 }
const encoder = { hidden: 32, depth: 1, heads: 2 }
const command = [process.execPath, join(import.meta.dirname, '../benchmark/fake-worker.mjs'), 'works'] as const

/** What people are told of a result. */
function told(show: (out: Output) => void): string {
  const stderr = new RecordingStream({ columns: 200 })
  show(new Output({ stdout: new RecordingStream(), stderr, env: {}, json: false, quiet: false }))
  return stderr.text
}

for (const { device, missing } of DEVICES) {
  describe.skipIf(missing || device === 'cpu')(`benchmarks on ${device}`, () => {
    test.each(['bf16', 'fp16', 'fp32'] as const)('every kernel of a step in %s, by events', async (precision) => {
      const before = memoryStats(device).liveBytes
      const seen: number[] = []
      const result = await benchmarkGpuKernels({
        device,
        model: sizes,
        precision,
        rounds: 2,
        probeSide,
        onCase: (done) => seen.push(done),
      })
      const { kernels, limits, gpu } = result
      expect(seen).toEqual(kernels.map((_, i) => i + 1))
      expect(gpu.usable).toBe(true)
      expect(new Set(kernels.map(({ family }) => family))).toEqual(
        new Set(['GEMM', 'norms', 'attention', 'losses', 'optimizer']),
      )
      expect(limits.products.seconds).toHaveLength(2 * kernels.length)
      for (const { family, seconds, flops, bytes, floorSeconds, share } of kernels) {
        expect(seconds.seconds).toHaveLength(2)
        expect(seconds.minimum).toBeGreaterThan(0)
        expect(bytes).toBeGreaterThan(0)
        expect(flops !== undefined).toBe(family === 'GEMM' || family === 'attention')
        expect(share).toBe(floorSeconds / seconds.median)
      }
      const text = told((out) => showGpuKernels(result, out))
      expect(text).toMatch(/^kernel +shape +time +spread +TFLOP\/s +TB\/s +of its floor$/m)
      for (const { name } of kernels) expect(text).toContain(name)
      expect(memoryStats(device).liveBytes).toBe(before)
    })

    test("the operations of a recorded step are timed in the recording's memory", async () => {
      using sit = SiT.create(model, { inputSize: [8, 8], device, seed: 0 })
      using training = new TrainingStep(sit, { batch: 2, cudaGraph: true })
      const taken = () => {
        const { liveBytes, cachedBytes } = memoryStats(device)
        return liveBytes + cachedBytes
      }
      for (let step = 0; step < 3; step++) await training.run()
      const before = taken()
      await training.runPlain()
      expect(taken()).toBe(before)
    })

    test.each([false, true])(
      'every step says that the parameters are others, as a captured graph: %s',
      async (cudaGraph) => {
        using sit = SiT.create(model, { inputSize: [8, 8], device, seed: 0 })
        using training = new TrainingStep(sit, { batch: 2, cudaGraph })
        const versions = new Set([sit.arena.version])
        for (let step = 0; step < 4; step++) {
          await training.run()
          versions.add(sit.arena.version)
        }
        expect(versions.size).toBe(5)
      },
    )

    test.each([
      { cudaGraph: false, precision: 'bf16', encoder },
      { cudaGraph: true, precision: 'bf16', encoder },
      { cudaGraph: true, precision: 'fp16' },
      { cudaGraph: true, precision: 'bf16', encoder, more: { classes: 0, text: { tokens: 5, width: 24 } } },
    ] as const)('steps: %o', async (row) => {
      const { more, ...options } = { more: {}, ...row }
      const before = memoryStats(device).liveBytes
      const seen: number[] = []
      const onRound = ({ index }: { index: number }) => seen.push(index)
      const result = await benchmarkGpuStep({
        device,
        model: { ...model, ...more },
        size,
        batch: 2,
        rounds: 3,
        probeSide,
        onRound,
        ...options,
      })
      expect(seen).toEqual([0, 1, 2])
      expect([result.size, result.model.inputSize]).toEqual([64, [8, 8]])
      const { ours, operations } = result
      expect(ours.seconds.seconds).toHaveLength(3)
      for (const [i, enqueueing] of ours.enqueueing.seconds.entries()) {
        expect(enqueueing).toBeLessThan(ours.seconds.seconds[i]!)
      }
      expect(ours.imagesPerSecond).toBe(2 / ours.seconds.median)
      const ofEncoder = 'encoder' in options ? encoderFlops(visionTransformerConfigSchema.parse(encoder), 16) : 0
      expect(ours.flops).toBe((2 * (trainingFlops(result.model) + ofEncoder)) / ours.seconds.median)
      expect(ours.shareOfProductRate).toBe(ours.flops / ours.productRate.median)
      // Weights, gradients, two moments and the EMA, and what a step keeps besides.
      expect(ours.peakDeviceBytes).toBeGreaterThan(5 * 4 * result.parameters)
      const names = operations.map(({ name }) => name)
      expect(names).toEqual(expect.arrayContaining(['attention', 'attentionBackward', 'adamW']))
      expect(names).not.toContain('graph')
      expect(operations.reduce((sum, { share }) => sum + share, 0)).toBeCloseTo(1, 9)
      expect(memoryStats(device).liveBytes).toBe(before)
    })

    test('batches of images from noise, alone and beside a baseline', async () => {
      const before = memoryStats(device).liveBytes
      const small = { depth: 1, hidden: 48, heads: 2, patch: 8 }
      const peakOf = async (side: number) =>
        (await benchmarkSampling({ device, model: small, batch: 2, steps: 2, rounds: 1, probeSide: side })).ours
          .peakDeviceBytes
      for (const against of [undefined, 'python'] as const) {
        const result = await benchmarkSampling({
          device,
          model: small,
          batch: 2,
          steps: 2,
          probeSide,
          command,
          ...(against && { against }),
        })
        expect(result).toMatchObject({ precision: 'bf16', device, evaluations: 3 })
        expect(result.gpu).toBeTypeOf('string')
        expect(result.ours.seconds.seconds).toHaveLength(7)
        expect(result.ours.limit).toBeGreaterThan(0)
        expect(result.ratio !== undefined).toBe(against !== undefined)
      }
      // The probe's memory is not the sampler's.
      expect(await peakOf(16)).toBe(await peakOf(512))
      await expect(
        benchmarkSampling({ device, model: small, probeSide, precision: 'fp16', against: 'python', command }),
      ).rejects.toThrow('The baseline computes in bf16 or fp32, not in fp16')
      expect(memoryStats(device).liveBytes).toBe(before)
    })

    test('a run of some seconds after the measured steps, with nothing between', async () => {
      const before = memoryStats(device).liveBytes
      const steps: number[] = []
      const result = await benchmarkGpuStep({
        device,
        model,
        size,
        batch: 2,
        rounds: 2,
        probeSide,
        seconds: 0.2,
        onSustained: (sofar) => steps.push(sofar.steps),
      })
      const { ours, sustained } = result
      expect(ours.seconds.seconds).toHaveLength(2)
      expect(ours.enqueueing.seconds).toHaveLength(2)
      expect(steps).toEqual(Array.from({ length: sustained!.steps }, (_, i) => i + 1))
      expect(sustained!.seconds).toBeGreaterThanOrEqual(0.2)
      expect(sustained!.shareOfShort).toBe(sustained!.imagesPerSecond / ours.imagesPerSecond)
      expect(told((out) => showGpuStep('tiny', result, out))).toMatch(
        /^\d+ steps in .+ s: .+ images\/s, .+ % of the rate/m,
      )
      expect(memoryStats(device).liveBytes).toBe(before)
    })

    test.each(['steps', 'blocks'] as const)('beside a baseline, taking turns in %s', async (turns) => {
      const log: string[] = []
      const onLog = (line: string) => log.push(line)
      const against = { turns, command, compile: 'max-autotune', regions: 'blocks', onLog } as const
      const result = await benchmarkGpuStep({ device, model, size, batch: 2, probeSide, against })
      expect(result.ours.seconds.seconds).toHaveLength(7)
      expect(result.baseline).toMatchObject({
        torch: '0.0',
        turns,
        variant: 'tuned',
        compile: 'max-autotune',
        regions: 'blocks',
      })
      expect(result.baseline!.warmup).toEqual([0.5, 1, 1.5, 2, 2.5])
      expect(log).toEqual(['compiling undefined, max-autotune, blocks'])
      expect(result.baseline!.seconds.seconds).toHaveLength(7)
      expect(result.ratio).toBe(result.baseline!.seconds.median / result.ours.seconds.median)
      expect(result.pairedRatio !== undefined).toBe(turns === 'steps')
      const text = told((out) => showGpuStep('tiny', result, out))
      expect(text).toMatch(/^ +median +best +spread +images\/s +peak GPU memory$/m)
      expect(text).toMatch(/^the host enqueues a step in .+ ms; its operations one by one take .+ ms$/m)
      expect(text).toMatch(/^operation +calls +time +share$/m)
      expect(text).toMatch(
        /times as fast as PyTorch, tuned, compiled block by block \(max-autotune, in a first step of 500 ms\)/,
      )
    })

    test.each([
      [{ against: { command }, precision: 'fp16' }, 'The baseline computes in bf16 or fp32, not in fp16'],
      [{ against: { command, regions: 'blocks' } }, 'regions are of what torch.compile compiles; give it a mode'],
      [{ against: { command }, seconds: 1 }, 'A run of so many seconds is of our step alone'],
      [{ size: 60 }, 'The size of the images is 60 pixels; expected a multiple of 8'],
      [{ signal: AbortSignal.abort(new Error('stopped')) }, 'stopped'],
    ] as const)('refuses %o and leaves nothing behind', async (options, message) => {
      const before = memoryStats(device).liveBytes
      await expect(benchmarkGpuStep({ device, model, size, batch: 1, probeSide, ...options })).rejects.toThrow(message)
      expect(memoryStats(device).liveBytes).toBe(before)
    })
  })
}
