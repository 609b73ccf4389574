import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { emptyEncoder } from '../../src/alignment/encoders.ts'
import { trainingFlops } from '../../src/benchmark/flops.ts'
import { GPUS } from '../../src/benchmark/gpus.ts'
import { Dataset } from '../../src/data/dataset.ts'
import { fileDigest } from '../../src/formats/file-digest.ts'
import { type NativeAddon, withAddon } from '../../src/native.ts'
import { AllocatorModel, blockSize } from '../../src/planning/allocator-model.ts'
import { planDisk } from '../../src/planning/disk.ts'
import { type MeasuredStep, measuredSteps } from '../../src/planning/measurements.ts'
import { planTraining } from '../../src/planning/plan.ts'
import { planStep } from '../../src/planning/planned-step.ts'
import { PlanningDevice } from '../../src/planning/planning-device.ts'
import { findRecipe, readJsonc } from '../../src/planning/recipe.ts'
import { expectedSpeed, type SpeedRequest } from '../../src/planning/speed.ts'
import { splitsOfWeightGradients } from '../../src/planning/workspace.ts'
import { memoryStats, setMemoryLimit } from '../../src/tensor/device.ts'
import { scope } from '../../src/tensor/scope.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { encodersWithFeatures } from '../../src/training/alignment-encoders.ts'
import { alignmentOf } from '../../src/training/alignment-settings.ts'
import { type TrainingOptions, trainingSchema } from '../../src/training/configuration.ts'
import { createModel } from '../../src/training/run.ts'
import { Trainer } from '../../src/training/trainer.ts'
import { trainerSettings } from '../../src/training/trainer-settings.ts'
import { temporaryFolder } from '../temporary-folder.ts'

const machine = { threads: 2, multiprocessors: 132, isHopper: true }

const step = (
  options: TrainingOptions,
  { captions = false, size = 256 }: { readonly captions?: boolean; readonly size?: number } = {},
) =>
  planStep({
    configuration: { ...trainingSchema.parse({ ...options, precision: 'bf16' }), precision: 'bf16' },
    data: Dataset.described({
      path: 'nowhere',
      length: 1000,
      classes: 1000,
      imageSize: size,
      storedLatentShape: [8, size / 8, size / 8] as const,
      captions,
    }),
    device: 'cuda:0',
    machine,
  })

test.each(['SiT-S/2', 'SiT-XL/2', 'SiT-B/8', 'DiT-L/4', 'LightningDiT-B/2', 'DiTDH-S'] as const)(
  '%s: the operations that its step makes are those that bench step counts',
  (model) => {
    const { flops, model: config } = step({ model, batch: 3, encoders: [{ name: 'hog' }] })
    expect(flops.forward + flops.backward).toBe(3 * trainingFlops(config))
    expect(flops.encoder).toBe(0)
  },
)

test('of a model of text too, and those of what encodes its captions apart', () => {
  const options: TrainingOptions = { model: 'MMDiT-d12/2', batch: 3, captionEncoder: { file: 'none' } }
  const { flops, model: config, encoders } = step({ ...options, encoders: [{ name: 'hog' }] }, { captions: true })
  expect(flops.forward + flops.backward).toBe(3 * trainingFlops(config))
  // CLIP-L's: 12 blocks of width 768 for 77 tokens, each of which sees itself and those before it.
  const [tokens, width] = [77, 768]
  const pairs = (tokens * (tokens + 1)) / 2
  expect(flops.encoder / 3).toBe(2 * 12 * (tokens * 12 * width ** 2 + 2 * pairs * width))
  expect([...encoders.keys()]).toEqual(['hog', 'clip-vit-L'])
})

// DINOv2-B then sees images of 448 pixels: 1,024 patches of 588 values and a class token.
test('at 512 pixels a model and its encoder have 1,024 patches', () => {
  const { flops, model } = step({ model: 'SiT-B/2', batch: 3, encoders: [{ name: 'dinov2-vit-b' }] }, { size: 512 })
  expect(flops.forward + flops.backward).toBe(3 * trainingFlops(model))
  expect(flops.forward / 3).toBeGreaterThan(2 * 12 * (1024 * 12 * 768 ** 2 + 2 * 1024 ** 2 * 768))
  const block = 1025 * 12 * 768 ** 2 + 2 * 1025 ** 2 * 768
  expect(flops.encoder).toBe(3 * 2 * (1024 * 588 * 768 + 12 * block))
})

test('a route is in the operations', () => {
  const { flops, model: config } = step({ model: 'SiT-B/2', batch: 3, encoders: [{ name: 'hog' }], routeTokens: 0.5 })
  expect(flops.forward + flops.backward).toBe(3 * trainingFlops(config, { share: 0.5, from: 3, to: 9 }))
})

test.each<[string, TrainingOptions]>([
  ['a convolution for a projector', { encoders: [{ name: 'hog' }], projector: 'conv' }],
  ['a class token', { encoders: [{ name: 'dinov2-vit-b' }], classTokenWeight: 0.03 }],
])('%s is in the operations', (_, options) => {
  const { flops, model: config } = step({ model: 'SiT-B/2', batch: 3, ...options })
  expect(flops.forward + flops.backward).toBe(3 * trainingFlops(config))
})

test('a CPU has the memory that its allocator gives', async () => {
  const { limitBytes } = memoryStats('cpu')
  setMemoryLimit('cpu', 3 * 2 ** 30)
  try {
    const { machine: planned, memory } = await planTraining({ recipe: 'sit-b-2', device: 'cpu' })
    expect([planned.memoryBytes, memory.fits]).toEqual([3 * 2 ** 30, false])
  } finally {
    setMemoryLimit('cpu', limitBytes)
  }
})

test('an encoder is counted apart: DINOv2-B at 224 pixels makes 23.2 GMAC', () => {
  const { flops } = step({ batch: 2, encoders: [{ name: 'dinov2-vit-b', file: 'none' }] })
  expect(flops.encoder / 2 / 2e9).toBeCloseTo(23.2, 1)
})

test('an encoder whose features are with the data, as the training would check them, does not run', async () => {
  const file = join(temporaryFolder(), 'encoder.pth')
  writeFileSync(file, 'weights')
  const weights = await fileDigest(file)
  const of = (encoder: { name: 'dinov2-vit-b'; file?: string }) =>
    trainingSchema.parse({ batch: 2, encoders: [encoder] })
  const configuration = of({ name: 'dinov2-vit-b', file })
  const plain = {
    path: 'nowhere',
    length: 1000,
    classes: 1000,
    imageSize: 256,
    storedLatentShape: [8, 32, 32],
  } as const
  const withFeatures = (grid: [number, number], digest = weights): Dataset =>
    Dataset.described({
      ...plain,
      features: [{ encoder: 'dinov2-vit-b', width: 768, grid, weights: digest }],
    })
  const data = withFeatures([16, 16])
  const found = async (set: Dataset, settings = configuration) => {
    const notices: string[] = []
    const names = await encodersWithFeatures(settings, set, (sentence) => notices.push(sentence))
    return { names, notices }
  }
  const [coarse, others] = [withFeatures([8, 8]), withFeatures([16, 16], '0'.repeat(64))]
  const runs = (obstacle: RegExp) => ({ names: [], notices: [expect.stringMatching(obstacle)] })
  expect(await found(Dataset.described(plain))).toEqual({ names: [], notices: [] })
  expect(await found(data)).toEqual({ names: ['dinov2-vit-b'], notices: [] })
  const reg = { ...configuration, classTokenWeight: 0.03 }
  expect(await found(data, reg)).toEqual(
    runs(/have no class token, which classTokenWeight denoises: the encoder runs\.$/),
  )
  expect(await found(coarse)).toEqual(runs(/have 8 × 8 tokens, the model 16 × 16: the encoder runs\.$/))
  expect(await found(others)).toEqual(
    runs(/were made with another file than .*encoder\.pth \(.*\): the encoder runs\.$/),
  )
  // What is not here cannot be compared, and a training without a file takes what there is.
  const [absent, unnamed] = [of({ name: 'dinov2-vit-b', file: 'none' }), of({ name: 'dinov2-vit-b' })]
  expect(await found(others, absent)).toEqual({
    names: ['dinov2-vit-b'],
    notices: [expect.stringContaining("none is not here: the features of dinov2-vit-b in 'nowhere'")],
  })
  expect(await found(others, unnamed)).toEqual({ names: ['dinov2-vit-b'], notices: [] })
  await expect(found(coarse, unnamed)).rejects.toThrow(
    "name the encoder's file, `encoders: [{ name: 'dinov2-vit-b', file: 'FILE' }]`, to run it",
  )
  const { names: cachedEncoders } = await found(data)

  const options = {
    configuration: { ...configuration, precision: 'bf16' as const },
    data,
    device: 'cuda:0',
    machine,
  }
  const [running, cached] = [planStep(options), planStep({ ...options, cachedEncoders })]
  expect(cached.flops).toEqual({ ...running.flops, encoder: 0 })
  expect([...running.encoders.keys(), ...cached.encoders.keys()]).toEqual(['dinov2-vit-b'])
  // Its weights, in f32 and bf16, are not there.
  expect(running.restingBytes - cached.restingBytes).toBeGreaterThan(6 * running.encoders.get('dinov2-vit-b')!)
})

test('activations grow with the batch, and nothing that belongs to the parameters does', () => {
  const [small, large] = [step({ model: 'SiT-B/2', batch: 16 }), step({ model: 'SiT-B/2', batch: 32 })]
  for (const purpose of ['weights', 'gradients', 'moments', 'EMA', 'low-precision weights']) {
    expect([purpose, large.atPeak.get(purpose)]).toEqual([purpose, small.atPeak.get(purpose)])
  }
  expect(large.atPeak.get('activations:blocks.5')).toBe(2 * small.atPeak.get('activations:blocks.5')!)
})

test('an operation without a rule is named', () => {
  const planning = new PlanningDevice(machine)
  withAddon(planning.addon, () => {
    expect(() => planning.addon.measureFmaPeak(1)).toThrow('no rule for the operation measureFmaPeak')
  })
})

test('memory is shared and given back as on a device', () => {
  const planning = new PlanningDevice(machine)
  const { allocator } = planning.planner
  withAddon(planning.addon, () => {
    scope(() => {
      const whole = Tensor.zeros([64, 64], 'cpu')
      const part = whole.view(64, [4, 64])
      whole.dispose()
      whole.dispose()
      expect(allocator.liveBytes).toBe(4 * 64 * 64)
      part.dispose()
      expect(allocator.liveBytes).toBe(0)
      expect(allocator.takenBytes).toBe(4 * 64 * 64)
      expect(() => part.reshape([3, 3])).toThrow(RangeError)
    })
  })
})

test.each([
  [1, 256],
  [256, 256],
  [257, 288],
  [1024, 1024],
  [1025, 1152],
  [3 * 2 ** 20, 3 * 2 ** 20],
  [3 * 2 ** 20 + 1, 3.25 * 2 ** 20],
])('a request of %d bytes takes %d', (bytes, taken) => {
  expect(blockSize(bytes)).toBe(taken)
})

test('a free block is handed out again where it is at most a quarter larger', () => {
  const allocator = new AllocatorModel()
  allocator.release(allocator.allocate(1024))
  const reused = allocator.allocate(900)
  expect(reused.bytes).toBe(1024)
  allocator.release(reused)
  expect(allocator.allocate(512).bytes).toBe(512)
  expect(allocator.takenBytes).toBe(1024 + 512)
  expect(allocator.peakBytes).toBe(1024)
})

test('disk of ImageNet and of a checkpoint of SiT-XL/2, as the reference writes them', () => {
  const request = {
    images: 1_281_167,
    size: 256,
    latents: [8, 32, 32],
    features: [{ tokens: 256, width: 768 }],
    flip: false,
    parameters: 683_242_512,
    trainable: 682_947_600,
    steps: 400_000,
    checkpointEvery: 50_000,
    resumeEvery: undefined,
    sampleEvery: 10_000,
    gridImages: 16,
  }
  const disk = planDisk(request)
  expect(disk.images / 1e9).toBeCloseTo(252, -0.5)
  expect(disk.latents / 1e9).toBeCloseTo(42.1, 0)
  expect(disk.cachedFeatures / 1e9).toBeCloseTo(504, 0)
  expect(disk.checkpoint / 1e9).toBeCloseTo(10.9, 1)
  expect(disk.checkpoints).toEqual({ count: 8, bytes: 8 * disk.checkpoint })
  expect(disk.grids.count).toBe(40)
  // One more beside them, where there is one before the end.
  expect(planDisk({ ...request, resumeEvery: 1000 }).checkpoints.count).toBe(9)
  expect(planDisk({ ...request, resumeEvery: 400_000 }).checkpoints.count).toBe(8)
  // Mirror images are made of latents and features alone.
  const both = planDisk({ ...request, flip: true })
  expect(both).toEqual({
    ...disk,
    latents: 2 * disk.latents,
    cachedFeatures: 2 * disk.cachedFeatures,
    total: disk.total + disk.latents,
  })
})

const gpuNamed = (wanted: string) => GPUS.find(({ name }) => name === wanted)!

const onGpu: SpeedRequest = {
  processes: 1,
  model: 'SiT-B/2',
  size: 256,
  batch: 256,
  device: 'cuda',
  precision: 'bf16',
  share: undefined,
  flopsPerImage: 200e9,
  trainingFlopsPerImage: 150e9,
  gpu: gpuNamed('H100'),
}

const measured = (change: Partial<MeasuredStep>): MeasuredStep => ({
  file: 'new.json',
  date: '2026-12-01',
  machine: 'NVIDIA H100 80GB HBM3, 8 cores of its host',
  model: 'SiT-B/2',
  size: 256,
  batch: 256,
  device: 'cuda:0',
  threads: undefined,
  precision: 'bf16',
  imagesPerSecond: 1000,
  flops: 150e12,
  ...change,
})

test('a speed is never said to be measured where it is not', () => {
  const only = (request: Partial<SpeedRequest>, ...steps: MeasuredStep[]) =>
    expectedSpeed({ ...onGpu, ...request }, steps)
  // Of a GPU only a guess, and it says so.
  expect(only({}, measured({ device: 'cpu', precision: 'fp32' }))).toMatchObject({
    basis: 'assumed',
    imagesPerSecond: (0.4 * 989.4e12) / 200e9,
  })
  expect(only({})?.explanation).toMatch(/^ASSUMED, not measured: 40 % of an H100's 989 TFLOP\/s/)
  expect(only({ precision: 'tf32' })?.explanation).toMatch(/an H100's 495 TFLOP\/s of tf32/)
  // Of a CPU not even that.
  expect(only({ device: 'cpu', precision: 'fp32' }, measured({}))).toBeUndefined()
  // The same model and batch, but not with this encoder.
  expect(only({}, measured({}))).toMatchObject({ basis: 'scaled from a measurement', imagesPerSecond: 150e12 / 200e9 })
  expect(only({ flopsPerImage: 150e9 }, measured({}))).toMatchObject({ basis: 'measured', imagesPerSecond: 1000 })
  expect(only({ flopsPerImage: 150e9 }, measured({ batch: 64 }))?.basis).toBe('scaled from a measurement')
  // The same, but with a route.
  const routed = { flopsPerImage: 100e9, trainingFlopsPerImage: 100e9 }
  expect(only(routed, measured({}))).toMatchObject({ basis: 'scaled from a measurement', imagesPerSecond: 1500 })
  // Another precision is another kernel.
  expect(only({}, measured({ precision: 'fp32' }))).toMatchObject({
    basis: 'assumed',
    explanation: expect.stringMatching(
      /no training step has been measured in this precision on any GPU to plan for yet$/,
    ),
  })
  // What the user says goes before all.
  expect(only({ share: 0.2 }, measured({}))).toMatchObject({
    basis: 'assumed',
    imagesPerSecond: (0.2 * 989.4e12) / 200e9,
  })
})

test("a measured speed is another GPU's by the share of the peak", () => {
  const of = (gpu: string, change: Partial<MeasuredStep> = {}) =>
    expectedSpeed({ ...onGpu, flopsPerImage: 150e9, gpu: gpuNamed(gpu) }, [measured(change)])
  // Of the same peak: not said to be measured, but the same speed.
  expect(of('H200')).toMatchObject({ basis: 'scaled from a measurement', imagesPerSecond: 150e12 / 150e9 })
  const share = 150e12 / 989.4e12
  const slower = of('RTX-4090')!
  expect(slower).toMatchObject({ basis: 'assumed', flops: share * 165.2e12, share })
  expect(slower.imagesPerSecond).toBeCloseTo((share * 165.2e12) / 150e9, 9)
  expect(slower.explanation).toMatch(
    /^ASSUMED, not measured: 15 % of an RTX-4090's 165 TFLOP\/s of bf16 on a data sheet, the share that was reached by SiT-B\/2 at batch 256 on NVIDIA H100 80GB HBM3, 8 cores of its host \(bench\/results\/new\.json\)$/,
  )
  // Without a data sheet there is no share.
  expect(of('RTX-4090', { machine: 'a machine' })?.explanation).toMatch(
    /^ASSUMED, not measured: 40 % of .*has been measured/,
  )
})

test('the newest file counts, and in it the nearest step', () => {
  const steps = [
    measured({ file: 'new.json', model: 'SiT-S/2', batch: 256, flops: 1e12 }),
    measured({ file: 'new.json', batch: 8, flops: 2e12 }),
    measured({ file: 'new.json', batch: 128, flops: 3e12 }),
    measured({ file: 'old.json', flops: 4e12 }),
  ]
  expect(expectedSpeed(onGpu, steps)).toMatchObject({ flops: 3e12, measurement: { file: 'new.json', batch: 128 } })
})

test('a step on images of another size is another step', () => {
  const [small, large] = [measured({ batch: 128, flops: 1e12 }), measured({ size: 512, flops: 2e12 })]
  expect(expectedSpeed(onGpu, [small, large])).toMatchObject({ flops: 1e12 })
  expect(expectedSpeed({ ...onGpu, size: 512 }, [small, large])).toMatchObject({ flops: 2e12 })
  // Of the same model and batch, and yet not measured.
  expect(expectedSpeed({ ...onGpu, flopsPerImage: 150e9 }, [measured({ size: 512 })])).toMatchObject({
    basis: 'scaled from a measurement',
    explanation: expect.stringContaining('from SiT-B/2 at 512 pixels at batch 256 on '),
  })
})

test("the package's measurements are read, newest first, without those beside a busy process", async () => {
  const steps = await measuredSteps()
  expect(steps.length).toBeGreaterThan(0)
  expect(steps.map(({ date }) => date)).toEqual(
    steps
      .map(({ date }) => date)
      .sort()
      .reverse(),
  )
  for (const { imagesPerSecond, machine: where } of steps) {
    expect(imagesPerSecond).toBeGreaterThan(0)
    expect(where).not.toBe('')
  }
  const own = steps.filter(({ file }) => file === '2026-11-26-cpu-step.json')
  expect(own.map(({ imagesPerSecond }) => imagesPerSecond)).not.toContain(8.096980580881928)
})

test('what does not fit is said, with the largest batch that does', async () => {
  const plan = await planTraining({ recipe: 'sit-xl-2-repa', gpu: 'RTX-4090' })
  expect(plan.memory.fits).toBe(false)
  const largest = plan.memory.largestBatch!
  expect((await planTraining({ recipe: 'sit-xl-2-repa', gpu: 'RTX-4090', batch: largest })).memory.fits).toBe(true)
  expect((await planTraining({ recipe: 'sit-xl-2-repa', gpu: 'RTX-4090', batch: largest + 1 })).memory.fits).toBe(false)
})

test.each([
  [{ recipe: 'sit-xl' }, 'There is neither a file sit-xl nor a recipe of that name; did you mean sit-xl-2?'],
  // A folder may have a recipe's name, as a run of it does.
  [{ recipe: import.meta.dirname }, `There is neither a file ${import.meta.dirname} nor a recipe of that name`],
  [{ recipe: 'sit-xl-2', gpu: 'V100' }, 'There is no GPU "V100" to plan for'],
  [{ recipe: 'sit-xl-2', device: 'cpu', precision: 'bf16' }, 'The CPU computes in fp32 only'],
  [{ recipe: 'sit-xl-2', device: 'cpu', precision: 'tf32' }, 'The CPU computes in fp32 only, not in tf32'],
  [{ recipe: 'sit-xl-2', data: '/nowhere' }, "'/nowhere' is not a prepared data set"],
] as const)('%j: %s', async (options, message) => {
  await expect(planTraining(options)).rejects.toThrow(message)
})

/** A file like the recipe of a model without an encoder, with settings of its own. */
async function recipeWith(training: TrainingOptions): Promise<string> {
  const recipe = (await readJsonc(await findRecipe('sit-b-2'))) as { readonly training: object }
  const file = join(temporaryFolder(), 'recipe.jsonc')
  writeFileSync(file, JSON.stringify({ ...recipe, training: { ...recipe.training, ...training } }))
  return file
}

test('a recipe is refused for settings of what it has not, as its training would be', async () => {
  const planned = planTraining({ recipe: await recipeWith({ selfAlignTeacherDepth: 9 }) })
  await expect(planned).rejects.toThrow('selfAlignTeacherDepth 9 is of self-alignment, and there is none')
  const plain = await recipeWith({ alignDepth: 4, alignWeight: 0.7 })
  expect((await planTraining({ recipe: plain })).parameters.projectors).toBe(0)
})

test('the largest batch of NT-Xent on several GPUs cuts none of its groups', async () => {
  const recipe = await recipeWith({
    model: 'SiT-XL/2',
    encoders: [{ name: 'hog' }],
    alignLoss: 'nt-xent',
    batch: 1024,
  })
  const planned = (batch: number) => planTraining({ recipe, gpu: 'RTX-4090', gpus: 4, batch })
  const { fits, largestBatch } = (await planned(1024)).memory
  // Four parts of whole groups of 16 images, of 256 tokens each.
  expect({ fits, rest: largestBatch! % 64, isSome: largestBatch! > 0 }).toEqual({ fits: false, rest: 0, isSome: true })
  expect((await planned(largestBatch!)).memory.fits).toBe(true)
  expect((await planned(largestBatch! + 64)).memory.fits).toBe(false)
})

// The table in native/cuda/gemm_sm90.cu; without wgmma tiles have half the rows, and a multiprocessor has two at a time.
test('weight gradients of a block of SiT-XL/2 at batch 256: alone three of four sums are cut, in one launch none', () => {
  const block = [
    [3456, 1152],
    [1152, 1152],
    [4608, 1152],
    [1152, 4608],
  ].map(([m, n]) => ({ m: m!, n: n!, k: 256 * 256, isFloat32: false }))
  const h200 = { multiprocessors: 132, isHopper: true }
  expect(block.map((product) => splitsOfWeightGradients([product], h200))).toEqual([1, 5, 4, 5])
  expect(splitsOfWeightGradients(block, h200)).toBe(1)
  const a100 = { multiprocessors: 108, isHopper: false }
  expect(block.map((product) => splitsOfWeightGradients([product], a100))).toEqual([6, 5, 2, 2])
  expect(splitsOfWeightGradients(block, a100)).toBe(2)
})

test('a step on a GPU computes the weight gradients of each block in one launch, and those of projectors in another', () => {
  const model = { kind: 'SiT', depth: 3, hidden: 192, heads: 3, patch: 2 } as const
  const options = {
    model,
    encoders: [{ name: 'hog' }],
    alignDepth: 2,
    batch: 4,
    projectorWidth: 64,
    precision: 'bf16',
  } as const
  const configuration = { ...trainingSchema.parse(options), precision: 'bf16' as const }
  const data = Dataset.described({
    path: 'nowhere',
    length: 9,
    classes: 10,
    imageSize: 256,
    storedLatentShape: [8, 32, 32],
  })
  const launches: string[][] = []
  const planning = new PlanningDevice(machine)
  const addon = new Proxy(planning.addon, {
    get: (target, name: keyof NativeAddon) => {
      if (name === 'linearWeightGradient') throw new Error('a weight gradient is computed by itself')
      if (name !== 'linearWeightGradients') return target[name]
      return ((dOut, x, dWeight, accumulate) => {
        launches.push(dWeight.map((handle) => target.shapeOf(handle).join('x')))
        target.linearWeightGradients(dOut, x, dWeight, accumulate)
      }) satisfies NativeAddon['linearWeightGradients']
    },
  })
  withAddon(addon, () => {
    const transformer = createModel(configuration, data, 'cuda:0')
    const encoders = configuration.encoders.map(({ name }) => emptyEncoder(name, 'cuda:0'))
    const settings = alignmentOf(configuration, encoders, transformer.config.depth)
    const trainer = new Trainer({
      ...trainerSettings(configuration),
      recompute: 'none',
      cudaGraph: false,
      model: transformer,
      data,
      ...settings,
    })
    const batch = {
      step: 0,
      epoch: 0,
      indices: new Int32Array(4),
      labels: new Int32Array(4),
      images: new Uint8Array(0),
    }
    void trainer.makeStep({ ...batch, latents: new Float32Array(0), features: [] })
  })
  const block = ['192x768', '768x192', '192x192', '576x192']
  expect(launches.slice(0, 5)).toEqual([['16x192'], block, expect.anything(), block, block])
  expect(launches[2]).toHaveLength(3)
})
