import { createHash } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { dinov3 } from '../../src/alignment/dinov3.ts'
import type { Encoder } from '../../src/alignment/encoder.ts'
import { loadEncoder } from '../../src/alignment/encoders.ts'
import { VisionEncoder } from '../../src/alignment/vision-encoder.ts'
import { Dataset } from '../../src/data/dataset.ts'
import { DEMO_CLASSES, writeDemoImages } from '../../src/data/demo-images.ts'
import { prepareDataset } from '../../src/data/prepare.ts'
import { sampleImages } from '../../src/diffusion/sample-images.ts'
import { DiT } from '../../src/models/dit.ts'
import { SiT } from '../../src/models/sit.ts'
import { VisionTransformer } from '../../src/models/vit.ts'
import { DINOV3_TRAITS } from '../../src/models/vit-presets.ts'
import { type MemoryStats, native } from '../../src/native.ts'
import { stateSource } from '../../src/nn/state-dict.ts'
import { memoryStats, resetPeakMemory, setMemoryLimit, synchronize, trimMemory } from '../../src/tensor/device.ts'
import type { HostTensor } from '../../src/tensor/host-tensor.ts'
import type { Recomputation } from '../../src/tensor/recomputation.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import type { LearningRateSchedule } from '../../src/training/learning-rate.ts'
import type { Precision } from '../../src/training/precision.ts'
import { Trainer } from '../../src/training/trainer.ts'
import type { TrainerOptions, TrainingStep } from '../../src/training/trainer-options.ts'
import { collectGarbage } from '../collect-garbage.ts'
import { DEVICES, isShim } from '../tensor/devices.ts'

// In fp32 the loss of 1.4 at the first step is 0.13 after 100.
const STEPS = isShim ? 6 : 200
/** Of the run whose memory is watched. */
const LONG = isShim ? 12 : 1000
const SIZE = isShim ? 8 : 32
// Of the whole training on the shim, a projector of 2,048 would take nine tenths.
const PROJECTOR = isShim ? 128 : 2048
const MODEL = isShim ? { depth: 2, hidden: 48, heads: 2, patch: 4 } : { depth: 6, hidden: 192, heads: 3, patch: 4 }

let folder: string
let data: Dataset

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'repa-gpu-'))
  await writeDemoImages(join(folder, 'drawn'), { perClass: 8, size: SIZE, seed: 0 })
  await prepareDataset({ source: join(folder, 'drawn'), out: join(folder, 'data'), size: SIZE })
  data = await Dataset.open(join(folder, 'data'))
})

afterAll(() => rmSync(folder, { recursive: true, force: true }))

const IREPA = { loss: 'nt-xent', projector: 'conv', spatialNorm: 0.6 } as const
const VARIANTS: Partial<TrainerOptions> = {
  selfAlign: { weight: 0.2, depth: 1, teacherDepth: 2, timeOffset: 0.2 },
  disperse: { weight: 0.5, temperature: 0.5, depth: 1 },
  contrast: { weight: 0.05 },
  alignSchedule: { until: 3 },
  route: { share: 0.5, from: 2, to: 2 },
}

/** A small DINOv3, of random weights: an encoder with a class token, registers and rotary positions. */
function smallDinov3(device: string): Encoder {
  const sizes = { hidden: 32, depth: 1, heads: 2, patch: 4 }
  return new VisionEncoder(
    dinov3,
    'dinov3-vit-s16',
    VisionTransformer.create({ ...DINOV3_TRAITS, ...sizes }, { device, seed: 2 }),
  )
}

type Kind = 'SiT' | 'DiT' | 'LightningDiT' | 'DiTDH'
const KINDS: readonly Kind[] = ['SiT', 'DiT', 'LightningDiT', 'DiTDH']
const DITDH = { norm: 'rmsNorm', ffn: 'swiglu', rope: true, ddtHead: { depth: 1, hidden: 48, heads: 3 } } as const
const LIGHTNINGDIT = { norm: 'rmsNorm', ffn: 'swiglu', rope: true, qkNorm: true, convention: 'sit' } as const

function create(kind: Kind, device: string): SiT | DiT {
  const inputSize: [number, number] = [SIZE, SIZE]
  const options = { classes: DEMO_CLASSES.length, channels: 3, inputSize, projectorWidth: PROJECTOR, device, seed: 1 }
  if (kind === 'DiT') return DiT.create(MODEL, options)
  return SiT.create(MODEL, { ...options, ...(kind === 'LightningDiT' && LIGHTNINGDIT), ...(kind === 'DiTDH' && DITDH) })
}

type Meanwhile = (model: SiT | DiT, encoder: Encoder) => void | Promise<void>

interface Trained {
  readonly losses: readonly number[]
  /** Of weights and EMA together. */
  readonly digest: string
  readonly steps: readonly TrainingStep[]
}

async function trained(
  device: string,
  options: {
    precision: Precision
    steps?: number
    cudaGraph?: boolean
    kind?: Kind
    /** Every alignment variant at once, the alignments ending after three steps. */
    variants?: boolean
    /** REG: a class token is denoised along. */
    reg?: boolean
    accumulate?: number
    recompute?: Recomputation
    learningRateSchedule?: LearningRateSchedule
    onStep?: (index: number) => void
    /** What else is done with the model and its encoder, after the third step. */
    meanwhile?: Meanwhile
  },
): Promise<Trained> {
  const {
    precision,
    steps = STEPS,
    cudaGraph = false,
    kind = 'SiT',
    variants = false,
    reg,
    onStep,
    meanwhile,
    ...more
  } = options
  using model = create(kind, device)
  const encoder = reg ? smallDinov3(device) : await loadEncoder('hog', undefined, { device })
  await using trainer = new Trainer({
    model,
    data,
    align: { encoder, depth: 1, weight: 0.5, ...(variants && IREPA) },
    ...(variants && VARIANTS),
    ...(reg && { classToken: { weight: 0.03 } }),
    ...(kind === 'LightningDiT' && { velocityCosineWeight: 1 }),
    batch: isShim ? 2 : 16,
    learningRate: 1e-3,
    precision,
    cudaGraph,
    ...more,
  })
  const made: TrainingStep[] = []
  for await (const step of trainer.run({ steps })) {
    made.push(step)
    onStep?.(step.index)
    if (step.index === 3) await meanwhile?.(model, encoder)
  }
  const hash = createHash('sha256')
  for (const role of ['weights', 'ema'] as const)
    hash.update(new Uint8Array((await model.arena.array(role).data()).buffer))
  return { losses: made.map(({ loss }) => loss), digest: hash.digest('hex'), steps: made }
}

/** Of this process, without what only waits to be collected. */
function residentBytes(): number {
  collectGarbage()
  return process.memoryUsage.rss()
}

for (const { device, missing } of DEVICES) {
  describe.skipIf(missing || device === 'cpu')(`training on ${device}`, () => {
    const taken: AsyncDisposable[] = []
    const take = (held: Disposable | AsyncDisposable) => {
      taken.push(Symbol.asyncDispose in held ? held : { [Symbol.asyncDispose]: async () => held[Symbol.dispose]() })
    }
    /** Memory of so many narrow numbers, with others in it. */
    const takeFilled = (size: number) => {
      const tensor = Tensor.empty([size], device, 'bf16')
      native().fill(tensor.handle, 3)
      take(tensor)
    }

    test.each(['fp32', 'tf32', 'bf16', 'fp16'] as const)(
      'in %s: the loss falls, and a second run has the same bits',
      async (precision) => {
        const first = await trained(device, { precision })
        // fp16's loss scale may have to come down from where it starts.
        const left = first.steps.filter(({ finite }) => !finite).length
        expect(left).toBeLessThanOrEqual(precision === 'fp16' ? 8 : 0)
        const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value / values.length, 0)
        const part = Math.max(2, Math.floor(STEPS / 5))
        if (!isShim) expect(mean(first.losses.slice(-part))).toBeLessThan(0.7 * mean(first.losses.slice(0, part)))
        expect(await trained(device, { precision })).toMatchObject({ losses: first.losses, digest: first.digest })
      },
    )

    test.each(KINDS)('of a %s is the same as on the CPU in fp32, up to rounding', async (kind) => {
      const steps = Math.min(STEPS, 4)
      const here = await trained(device, { kind, precision: 'fp32', steps })
      const there = await trained('cpu', { kind, precision: 'fp32', steps })
      for (const [i, loss] of here.losses.entries()) expect(loss).toBeCloseTo(there.losses[i]!, 4)
    })

    test.each(KINDS)('of a %s as a captured graph has the same bits as without', async (kind) => {
      const plain = await trained(device, { kind, precision: 'bf16' })
      expect(await trained(device, { kind, precision: 'bf16', cudaGraph: true })).toMatchObject({
        losses: plain.losses,
        digest: plain.digest,
      })
    })

    test('with every alignment variant is the same as on the CPU in fp32, up to rounding', async () => {
      const steps = 5
      const here = await trained(device, { variants: true, precision: 'fp32', steps })
      const there = await trained('cpu', { variants: true, precision: 'fp32', steps })
      for (const [i, loss] of here.losses.entries()) expect(loss).toBeCloseTo(there.losses[i]!, 3)
    })

    test.each(['bf16', 'fp16'] as const)(
      'in two passes and %s, what is computed again, in a captured graph too, has the same bits',
      async (precision) => {
        const options = { precision, accumulate: 2, steps: isShim ? 3 : 20 }
        const { losses, digest } = await trained(device, options)
        expect(await trained(device, { ...options, recompute: 'elementwise' })).toMatchObject({ losses, digest })
        const captured = await trained(device, { ...options, recompute: 'elementwise', cudaGraph: true })
        expect(captured).toMatchObject({ losses, digest })
      },
    )

    test('in two passes is the same as on the CPU in fp32, up to rounding', async () => {
      const steps = isShim ? 2 : 4
      const here = await trained(device, { precision: 'fp32', accumulate: 2, steps })
      const there = await trained('cpu', { precision: 'fp32', steps })
      for (const [i, loss] of here.losses.entries()) expect(loss).toBeCloseTo(there.losses[i]!, 4)
    })

    test('by a schedule of the learning rate, in a captured graph too, has the same bits', async () => {
      const plain = { precision: 'bf16', steps: 5 } as const
      const options = { ...plain, learningRateSchedule: { warmup: 3, decay: 'cosine', until: 5 } } as const
      const { losses, digest, steps } = await trained(device, options)
      expect(await trained(device, { ...options, cudaGraph: true })).toMatchObject({ losses, digest })
      // Of the learning rate 1e-3.
      for (const [i, rate] of [1 / 3, 2 / 3, 1, 1, 0.5].entries())
        expect(steps[i]!.learningRate).toBeCloseTo(rate * 1e-3, 15)
      const unscheduled = await trained(device, plain)
      expect(unscheduled.digest).not.toBe(digest)
      expect(unscheduled.losses[0]).toBe(losses[0])
    })

    test('with every alignment variant as a captured graph has the same bits as without', async () => {
      const plain = await trained(device, { variants: true, precision: 'bf16', steps: 6 })
      expect(await trained(device, { variants: true, precision: 'bf16', steps: 6, cudaGraph: true })).toMatchObject({
        losses: plain.losses,
        digest: plain.digest,
      })
    })

    test('with a class token is the same as on the CPU in fp32, up to rounding', async () => {
      const steps = isShim ? 2 : 4
      const here = await trained(device, { reg: true, precision: 'fp32', steps })
      const there = await trained('cpu', { reg: true, precision: 'fp32', steps })
      for (const [i, loss] of here.losses.entries()) expect(loss).toBeCloseTo(there.losses[i]!, 4)
    })

    test('with a class token, what is computed again, in a captured graph too, has the same bits', async () => {
      const options = { reg: true, precision: 'bf16', steps: isShim ? 3 : 20 } as const
      const { losses, digest } = await trained(device, options)
      const again = await trained(device, { ...options, recompute: 'elementwise', cudaGraph: true })
      expect(again).toMatchObject({ losses, digest })
    })

    // A graph that went on with the copies that it was captured with would read and write what takes their memory.
    test.each<[string, Meanwhile]>([
      [
        'the weights are computed with in f32 meanwhile',
        (model) => {
          model.computeIn('f32')
          takeFilled(model.arena.size)
          model.computeIn('bf16')
        },
      ],
      [
        'the encoder is computed with in f32 meanwhile',
        (_, encoder) => {
          const { arena } = (encoder as VisionEncoder).model
          encoder.computeIn?.('f32')
          takeFilled(arena.size)
          encoder.computeIn?.('bf16')
        },
      ],
      [
        'the model is left in f32',
        (model) => {
          model.computeIn('f32')
        },
      ],
      [
        'the encoder loads what it has',
        async (_, encoder) => {
          const { model } = encoder as VisionEncoder
          const state = new Map<string, HostTensor>()
          for (const entry of model.entries) {
            using view = model.arena.view('weights', entry)
            state.set(entry.name, await view.toHost())
          }
          await model.load(stateSource(state, 'what it has'))
          for (let i = 0; i < 4; i++) takeFilled(4 * 32 * 2)
        },
      ],
      [
        'another Trainer takes the encoder as well',
        (_, encoder) => {
          const { arena } = (encoder as VisionEncoder).model
          const copy = arena.compute
          const model = create('SiT', device)
          take(model)
          take(new Trainer({ model, data, align: { encoder, depth: 1 }, batch: 2, precision: 'bf16' }))
          takeFilled(arena.size)
          expect(arena.compute).toBe(copy)
        },
      ],
    ])('as a captured graph has the same bits where %s', async (_, meanwhile) => {
      const options = { reg: true, precision: 'bf16', steps: STEPS, cudaGraph: true } as const
      const { losses, digest } = await trained(device, options)
      expect(await trained(device, { ...options, meanwhile })).toMatchObject({ losses, digest })
      for (const held of taken.splice(0).reverse()) await held[Symbol.asyncDispose]()
    })

    test.each([false, true])(
      'is refused where another Trainer has given the model other projectors, as a captured graph: %s',
      async (cudaGraph) => {
        const options = { precision: 'bf16', steps: STEPS, cudaGraph } as const
        const meanwhile = (model: SiT | DiT, encoder: Encoder) => {
          const align = { encoder, depth: 1, projector: 'conv' } as const
          take(new Trainer({ model, data, align, batch: 2, precision: 'bf16' }))
        }
        await expect(trained(device, { ...options, meanwhile })).rejects.toThrow(
          'the model has another optimizer since',
        )
        for (const held of taken.splice(0).reverse()) await held[Symbol.asyncDispose]()
      },
    )

    test.each([false, true])(
      `does not grow in memory after step 10 of ${LONG}, as a captured graph: %s`,
      async (cudaGraph) => {
        const seen = new Map<number, MemoryStats>()
        const resident = new Map<number, number>()
        await trained(device, {
          precision: 'bf16',
          cudaGraph,
          steps: LONG,
          onStep: (index) => {
            // What came before does not count: other tests' peaks, and the first steps'.
            if (index === 5) resetPeakMemory(device)
            seen.set(index, memoryStats(device))
            if (index === LONG / 2 || index === LONG - 1) resident.set(index, residentBytes())
          },
        })
        // After the last step no more is under way.
        expect(seen.get(LONG - 1)).toEqual(seen.get(10))
        if (isShim) return
        const [half, last] = [resident.get(LONG / 2)!, resident.get(LONG - 1)!]
        const mebibytes = (bytes: number) => (bytes / 2 ** 20).toFixed(1)
        const { liveBytes, peakBytes, cachedBytes } = seen.get(LONG - 1)!
        const onDevice = `${mebibytes(liveBytes)} live, ${mebibytes(peakBytes)} at most, ${mebibytes(liveBytes + cachedBytes)} reserved`
        console.log(
          `${LONG} steps: MiB ${onDevice}, resident ${mebibytes(half)} after half and ${mebibytes(last)} at last`,
        )
        // A step makes more than a thousand tensors: were the handle of each to stay, of some hundred bytes, it would be more than this a step.
        expect(last - half).toBeLessThan((LONG / 2) * 2 ** 16)
      },
    )

    test('out of memory is an error that names the op and the sizes, and the process goes on', async () => {
      trimMemory(device)
      const { limitBytes, liveBytes, cachedBytes } = memoryStats(device)
      setMemoryLimit(device, liveBytes + cachedBytes + 2 ** 16)
      try {
        await expect(trained(device, { precision: 'bf16', steps: 1 })).rejects.toMatchObject({
          code: 'ERR_OUT_OF_MEMORY',
          message: expect.stringMatching(/^\w+: out of memory: \d+ MiB asked for, \d+ MiB in use, limit \d+ MiB/),
        })
      } finally {
        setMemoryLimit(device, limitBytes)
      }
      using x = Tensor.full([4], 2, device)
      expect([...(await x.data())]).toEqual([2, 2, 2, 2])
    })

    test.each(KINDS)('and then a %s samples', async (kind) => {
      using model = create(kind, device)
      model.computeIn('bf16')
      for await (const { images } of sampleImages(model, {
        labels: Int32Array.of(0, 1),
        seed: 0,
        batch: 2,
        ...(kind === 'DiT' ? { mode: 'ddpm' } : { mode: 'sde', path: 'linear' }),
        steps: 3,
        guidance: { scale: 2, low: 0, high: 1 },
      })) {
        expect(images.length).toBe(2 * 3 * SIZE * SIZE)
        // An untrained DiT, which sees no noise, makes nearly all of it black or white.
        expect(new Set(images).size).toBeGreaterThan(kind === 'DiT' ? 2 : 8)
      }
      await synchronize(device)
    })
  })
}
