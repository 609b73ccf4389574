import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { ntXent } from '../../src/alignment/nt-xent.ts'
import { teacherStates } from '../../src/alignment/self-alignment.ts'
import { Dataset } from '../../src/data/dataset.ts'
import { DiT } from '../../src/models/dit.ts'
import { SiT, type SiTOptions } from '../../src/models/sit.ts'
import type { RoutedBlocks } from '../../src/models/token-route.ts'
import { memoryStats } from '../../src/tensor/device.ts'
import { randomTokens } from '../../src/tensor/random.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { forwardBackward, type Losses, type PassOptions, type TrainingBatch } from '../../src/training/objective.ts'
import { SiTObjective } from '../../src/training/sit-objective.ts'
import { Trainer } from '../../src/training/trainer.ts'
import type { TrainerOptions, TrainingStep } from '../../src/training/trainer-options.ts'
import { attentiveEncoder, classTokenEncoder, constantEncoder } from '../data/constant-encoder.ts'
import { temporaryFolder } from '../data/temporary-folder.ts'
import { tinyDataset } from '../data/tiny-dataset.ts'
import { random } from '../reference/array.ts'

const GRID = [3, 4] as const
const TOKENS = GRID[0] * GRID[1]
const BATCH = 3
const WIDTH = 10
const KEPT = { batch: BATCH, tokens: TOKENS, taken: 5 }

function tiny(options: Partial<SiTOptions> = {}, seed = 3): SiT {
  const sizes = { depth: 3, hidden: 32, heads: 2, patch: 2 }
  const inputSize: [number, number] = [2 * GRID[0], 2 * GRID[1]]
  const model = SiT.create(sizes, { inputSize, channels: 2, classes: 4, projectorWidth: 24, seed, ...options })
  // The adaLN-zero start makes every block the identity: no gradient would reach them.
  const values = random([model.arena.size], 11, 0.15).data
  model.arena.array('weights').write(Float32Array.from(values))
  model.arena.allocateGradients()
  model.arena.array('ema').write(Float32Array.from(random([model.arena.size], 12, 0.15).data))
  return model
}

const draw = (shape: readonly number[], seed: number, scale = 1) =>
  Tensor.from(Float32Array.from(random(shape, seed, scale).data), shape, 'cpu')

/** What a pass is made of, the caller's to dispose. */
function batchOf(
  model: SiT,
  {
    targets = false,
    teacher = false,
    negatives = false,
    attention = 0,
    route,
  }: Omit<Variant, 'name' | 'model' | 'options' | 'velocityCosineWeight'>,
): TrainingBatch {
  const shape = [BATCH, 2, 2 * GRID[0], 2 * GRID[1]]
  return {
    latents: draw(shape, 1),
    noise: draw(shape, 2),
    labels: Tensor.from(Int32Array.from([0, 4, 2]), [BATCH], 'cpu'),
    t: Tensor.from(Float32Array.from([0.1, 0.5, 0.9]), [BATCH], 'cpu'),
    targets: targets ? [draw([BATCH, model.sequenceTokens, WIDTH], 3, 2)] : [],
    ...(model.classTokenWidth !== undefined && {
      classToken: { clean: draw([BATCH, WIDTH], 6, 2), noise: draw([BATCH, WIDTH], 7) },
    }),
    ...(teacher && { teacher: draw([BATCH, TOKENS, model.config.hidden], 4, 0.3) }),
    ...(negatives && { negatives: draw(shape, 5) }),
    ...(attention > 0 && {
      attentionTargets: Array.from({ length: attention }, (_, i) => ({
        qkv: draw([BATCH, 1 + TOKENS, 3 * 3 * 8], 20 + i, 2),
        heads: 3,
      })),
    }),
    ...(route && { route: { ...route, kept: randomTokens(KEPT, { seed: 2, stream: 'keptTokens', step: 0 }, 'cpu') } }),
  }
}

function dispose(batch: TrainingBatch): void {
  const { latents, noise, labels, t, teacher, negatives, classToken, targets, attentionTargets = [], route } = batch
  const read = attentionTargets.map(({ qkv }) => qkv)
  const { ids, places } = route?.kept ?? {}
  const { clean, noise: noiseOfToken } = classToken ?? {}
  for (const tensor of [
    latents,
    noise,
    labels,
    t,
    teacher,
    negatives,
    clean,
    noiseOfToken,
    ids,
    places,
    ...targets,
    ...read,
  ])
    tensor?.dispose()
}

let liveBytes: number
beforeEach(() => {
  liveBytes = memoryStats('cpu').liveBytes
})
afterEach(() => {
  expect(memoryStats('cpu').liveBytes, 'tensors that were left').toBe(liveBytes)
})

interface Variant {
  readonly name: string
  readonly model?: Partial<SiTOptions>
  readonly targets?: boolean
  readonly teacher?: boolean
  readonly negatives?: boolean
  /** Of so many blocks of an encoder. */
  readonly attention?: number
  readonly route?: RoutedBlocks
  /** Of the objective. */
  readonly velocityCosineWeight?: number
  readonly options: Omit<PassOptions, 'objective'>
}

const aligned = { alignWidths: [WIDTH], alignDepth: 2 }
const VARIANTS: readonly Variant[] = [
  { name: 'the cosine', model: aligned, targets: true, options: { alignWeight: 3 } },
  { name: 'NT-Xent', model: aligned, targets: true, options: { alignWeight: 1, featureLoss: ntXent(0.2) } },
  { name: 'the convolution', model: { ...aligned, projector: 'conv' }, targets: true, options: { alignWeight: 3 } },
  {
    name: 'a class token',
    model: { ...aligned, classTokenWidth: WIDTH },
    targets: true,
    options: { alignWeight: 1, classTokenWeight: 2, dispersive: { weight: 1, temperature: 0.5, depth: 2 } },
  },
  { name: 'the dispersive loss', options: { alignWeight: 0, dispersive: { weight: 2, temperature: 0.5, depth: 2 } } },
  { name: 'attention', model: aligned, attention: 2, options: { alignWeight: 0, attention: { weight: 5, heads: 2 } } },
  {
    name: "attention of LightningDiT's blocks, of one head, with the cosine",
    model: { ...aligned, norm: 'rmsNorm', ffn: 'swiglu', rope: true, qkNorm: true },
    targets: true,
    attention: 1,
    options: { alignWeight: 1, attention: { weight: 5, heads: 1 } },
  },
  {
    name: 'self-alignment',
    model: { selfAlignment: true },
    teacher: true,
    options: { alignWeight: 0, selfAlignment: { weight: 4, depth: 1 } },
  },
  { name: 'the contrast of flows', negatives: true, options: { alignWeight: 0, contrastiveWeight: 0.4 } },
  { name: 'the cosine of velocities', velocityCosineWeight: 3, options: { alignWeight: 0 } },
  { name: 'a route', route: { from: 2, to: 2 }, options: { alignWeight: 0 } },
  {
    name: 'a route, with alignment of its tokens',
    model: { ...aligned, selfAlignment: true },
    targets: true,
    teacher: true,
    route: { from: 2, to: 3 },
    options: { alignWeight: 3, selfAlignment: { weight: 4, depth: 2 } },
  },
  {
    name: 'a route, with alignment at its ends',
    model: { alignWidths: [WIDTH], alignDepth: 1, selfAlignment: true },
    targets: true,
    teacher: true,
    route: { from: 2, to: 3 },
    options: {
      alignWeight: 3,
      selfAlignment: { weight: 4, depth: 3 },
      dispersive: { weight: 1, temperature: 0.5, depth: 1 },
    },
  },
  {
    name: 'all of them',
    model: { ...aligned, projector: 'conv', selfAlignment: true },
    targets: true,
    teacher: true,
    negatives: true,
    options: {
      alignWeight: 0.5,
      contrastiveWeight: 0.05,
      featureLoss: ntXent(0.1),
      selfAlignment: { weight: 1, depth: 2 },
      dispersive: { weight: 0.5, temperature: 0.5, depth: 2 },
    },
  },
]

describe("every variant's gradient is the slope of the training loss", () => {
  /** The training loss in double, from what a pass reports. */
  async function lossOf(
    losses: Losses,
    { options, velocityCosineWeight = 0 }: Pick<Variant, 'options' | 'velocityCosineWeight'>,
  ): Promise<number> {
    const meanOf = async (tensor: Tensor | undefined): Promise<number> => {
      if (!tensor) return 0
      const values = [...(tensor.dtype === 'f64' ? await tensor.dataAs('f64') : await tensor.data())]
      return values.reduce((sum, value) => sum + value, 0) / values.length
    }
    return (
      (await meanOf(losses.denoising)) +
      velocityCosineWeight * (await meanOf(losses.velocityCosine)) +
      options.alignWeight * (await meanOf(losses.alignment)) +
      (options.classTokenWeight ?? 0) * (await meanOf(losses.classToken)) +
      (options.attention?.weight ?? 0) * (await meanOf(losses.attentionAlignment)) +
      (options.selfAlignment?.weight ?? 0) * (await meanOf(losses.selfAlignment)) +
      (options.dispersive?.weight ?? 0) * (await meanOf(losses.dispersive)) -
      (options.contrastiveWeight ?? 0) * (await meanOf(losses.contrastive))
    )
  }

  test.each(VARIANTS)('$name', async ({ model: settings, options, velocityCosineWeight, ...parts }) => {
    using model = tiny(settings)
    const batch = batchOf(model, parts)
    const objective = new SiTObjective({ velocityCosineWeight })
    const run = async (): Promise<number> => {
      const losses = forwardBackward(model, batch, { ...options, objective })
      const loss = await lossOf(losses, { options, velocityCosineWeight })
      for (const tensor of Object.values(losses)) tensor?.dispose()
      return loss
    }
    await run()
    const gradient = await model.arena.array('gradients').data()
    const weights = await model.arena.array('weights').data()
    const norm = Math.hypot(...gradient)
    const shifted = async (step: number): Promise<number> => {
      model.arena.array('weights').write(weights.map((value, i) => value + (step * gradient[i]!) / norm))
      model.arena.refreshCompute()
      return await run()
    }
    // Richardson's: the error of the central difference is of the fourth order in the step.
    const central = async (step: number) => ((await shifted(step)) - (await shifted(-step))) / (2 * step)
    const slope = (4 * (await central(0.01)) - (await central(0.02))) / 3
    expect(Math.abs(slope - norm)).toBeLessThan(2e-3 * norm)
    dispose(batch)
  })

  test.each(VARIANTS.slice(1))('$name changes the gradient', async (variant) => {
    const { model: settings, options, velocityCosineWeight, ...parts } = variant
    using model = tiny(settings)
    const batch = batchOf(model, parts)
    const gradientOf = async (of: TrainingBatch, with_: PassOptions): Promise<Float32Array> => {
      const losses = forwardBackward(model, of, with_)
      for (const tensor of Object.values(losses)) tensor?.dispose()
      return await model.arena.array('gradients').data()
    }
    const plain = await gradientOf(
      { ...batch, negatives: undefined, route: undefined },
      { alignWeight: 0, objective: new SiTObjective() },
    )
    const objective = new SiTObjective({ velocityCosineWeight })
    expect(await gradientOf(batch, { ...options, objective })).not.toEqual(plain)
    dispose(batch)
  })
})

describe('self-alignment', () => {
  const inputs = () => ({
    input: draw([BATCH, 2, 2 * GRID[0], 2 * GRID[1]], 5),
    t: Tensor.from(Float32Array.from([0.1, 0.5, 0.9]), [BATCH], 'cpu'),
    labels: Tensor.from(Int32Array.from([0, 4, 2]), [BATCH], 'cpu'),
  })

  test("the teacher's states are what leaves a block of the averaged model, and the model is as before", async () => {
    using model = tiny()
    const given = inputs()
    const before = await model.arena.array('weights').data()
    for (const depth of [1, 3]) {
      using states = teacherStates(model, given, depth)
      model.arena.use('ema')
      let expected: Float32Array | undefined
      const seen: Promise<void>[] = []
      const output = model.forward(given.input, given.t, given.labels, {
        observe(name, tensor) {
          if (name !== `blocks.${depth - 1}`) return
          seen.push(
            tensor.data().then((values) => {
              expected = values
            }),
          )
        },
      })
      await Promise.all(seen)
      model.arena.use('weights')
      expect(await states.data()).toEqual(expected)
      using own = model.hiddenStates(given.input, given.t, given.labels, depth)
      expect(await own.data()).not.toEqual(expected)
      output.prediction.dispose()
    }
    expect(await model.arena.array('weights').data()).toEqual(before)
    for (const tensor of Object.values(given)) tensor.dispose()
  })

  test('times are earlier by up to the offset, and none is before the data', async () => {
    const objective = new SiTObjective()
    const values = Float32Array.from({ length: 4000 }, (_, i) => i / 4000)
    using t = Tensor.from(values, [4000], 'cpu')
    using earlier = objective.drawEarlierTimes(t, 0.2, { seed: 1, stream: 'teacherTimes', step: 5 })
    const offsets = (await earlier.data()).map((value, i) => values[i]! - value)
    expect(Math.min(...offsets)).toBeGreaterThanOrEqual(-1e-7)
    expect(Math.max(...offsets)).toBeLessThanOrEqual(0.2 + 1e-6)
    expect(Math.min(...(await earlier.data()))).toBe(0)
    const mean = offsets.slice(800).reduce((sum, value) => sum + value, 0) / 3200
    // A mean of 3200 uniform numbers of variance 0.2² / 12.
    expect(Math.abs(mean - 0.1)).toBeLessThan((5 * 0.2) / Math.sqrt(12 * 3200))
  })
})

test('names of the parts in the state dict, before the final layer', () => {
  using model = tiny({ ...aligned, projector: 'conv', selfAlignment: true })
  const entries = model.entries.map(({ name, shape }) => [name, shape] as const)
  const at = entries.findIndex(([name]) => name.startsWith('projectors.'))
  expect(entries.slice(at, at + 7)).toEqual([
    ['projectors.0.projection_layer.weight', [WIDTH, 32, 3, 3]],
    ['projectors.0.projection_layer.bias', [WIDTH]],
    ['ap_head.linear1.weight', [64, 32]],
    ['ap_head.linear1.bias', [64]],
    ['ap_head.linear2.weight', [32, 64]],
    ['ap_head.linear2.bias', [32]],
    ['final_layer.linear.weight', [8, 32]],
  ])
})

describe('a run', () => {
  type Variation = Pick<
    TrainerOptions,
    'align' | 'selfAlign' | 'alignSchedule' | 'disperse' | 'contrast' | 'route' | 'classToken' | 'velocityCosineWeight'
  >
  const align = { encoder: constantEncoder, depth: 1 }
  const selfAlign = { weight: 0.2, depth: 1, teacherDepth: 2, timeOffset: 0.2 }
  const RUNS: readonly (readonly [name: string, options: Variation])[] = [
    ['NT-Xent', { align: { ...align, loss: 'nt-xent' } }],
    ['a stop at step 4', { align, alignSchedule: { until: 4 } }],
    ['a linear decay to step 5', { align, alignSchedule: { until: 5, decay: 'linear' } }],
    ['iREPA', { align: { ...align, projector: 'conv', spatialNorm: 0.6 } }],
    [
      'HASTE',
      { align: { encoder: attentiveEncoder, depth: 2, attention: { weight: 0.5 } }, alignSchedule: { until: 4 } },
    ],
    ['REG', { align: { ...align, encoder: classTokenEncoder }, classToken: { weight: 0.03 } }],
    ['the dispersive loss', { disperse: { weight: 0.5, temperature: 0.5, depth: 1 } }],
    ['contrastive flow matching', { contrast: { weight: 0.05 } }],
    ['the cosine of velocities', { velocityCosineWeight: 1 }],
    ['a route', { align, route: { share: 0.5, from: 2, to: 2 } }],
    ['self-alignment that ends at step 4', { selfAlign, alignSchedule: { until: 4, decay: 'cosine' } }],
    [
      'all at once',
      {
        ...{ align, selfAlign, contrast: { weight: 0.05 } },
        ...{ disperse: { weight: 0.5, temperature: 0.5, depth: 2 }, alignSchedule: { until: 3 } },
      },
    ],
  ]

  async function trainer(root: string, options: Variation): Promise<Trainer> {
    const data = await Dataset.open(root)
    const model = SiT.create(
      { depth: 2, hidden: 16, heads: 2, patch: 2 },
      { inputSize: [8, 8], classes: 5, projectorWidth: 8, seed: 1 },
    )
    return new Trainer({ model, data, batch: 2, learningRate: 1e-2, ...options })
  }

  async function stepsOf(run: Trainer, steps: number): Promise<TrainingStep[]> {
    const seen: TrainingStep[] = []
    for await (const step of run.run({ steps })) seen.push(step)
    return seen
  }

  test.each(RUNS)('%s: resumed, it goes on as the unbroken one', async (_, options) => {
    const root = await tinyDataset()
    const unbroken = await trainer(root, options)
    const all = await stepsOf(unbroken, 6)
    const folder = temporaryFolder()
    const first = await trainer(root, options)
    await stepsOf(first, 3)
    const checkpoint = await first.save(folder)
    const second = await trainer(root, options)
    await second.restore(checkpoint)
    const rest = await stepsOf(second, 6)
    const numbers = ({ imagesPerSecond: _rate, seconds: _seconds, ...step }: TrainingStep) => step
    expect(rest.map(numbers)).toEqual(all.slice(3).map(numbers))
    expect(all.every(({ finite }) => finite)).toBe(true)
    for (const role of ['weights', 'ema', 'secondMoments'] as const) {
      expect(await second.model.arena.array(role).data()).toEqual(await unbroken.model.arena.array(role).data())
    }
    for (const run of [unbroken, first, second]) {
      await run.dispose()
      run.model.dispose()
    }
  })

  test('a stopped alignment costs no encoder any more, and its weight is told', async () => {
    let calls = 0
    const counting = {
      ...constantEncoder,
      features(...args: Parameters<typeof constantEncoder.features>) {
        calls++
        return constantEncoder.features(...args)
      },
    }
    const run = await trainer(await tinyDataset(), {
      align: { encoder: counting, depth: 1, weight: 0.8 },
      alignSchedule: { until: 2 },
    })
    const steps = await stepsOf(run, 4)
    expect(calls).toBe(2)
    expect(steps.map(({ alignWeight }) => alignWeight)).toEqual([0.8, 0.8, 0, 0])
    expect(steps.map(({ alignment }) => alignment === undefined)).toEqual([false, false, true, true])
    for (const { loss, denoising, alignment, alignWeight } of steps) {
      expect(loss).toBeCloseTo(denoising + alignWeight! * (alignment ?? 0), 12)
    }
    await run.dispose()
    run.model.dispose()
  })

  test('several encoders of other widths are averaged', async () => {
    const wide = {
      ...constantEncoder,
      width: 5,
      features: (images: Tensor, [rows, columns]: readonly [number, number]) =>
        Tensor.full([images.shape[0]!, rows * columns, 5], -1, 'cpu'),
    }
    const root = await tinyDataset()
    const alignments: number[] = []
    for (const encoder of [[constantEncoder], [wide], [constantEncoder, wide]]) {
      const run = await trainer(root, { align: { encoder, depth: 1 } })
      const [step] = await stepsOf(run, 1)
      expect(run.model.config.alignWidths).toEqual(encoder.map(({ width }) => width))
      alignments.push(step!.alignment!)
      await run.dispose()
      run.model.dispose()
    }
    expect(alignments.every((alignment) => alignment >= -1 && alignment <= 1)).toBe(true)
    expect(new Set(alignments).size).toBe(3)
  })

  test('a grid that an encoder has no features for is refused before anything is trained', async () => {
    const small = {
      ...constantEncoder,
      requireGrid: ([rows, columns]: readonly [number, number]) => {
        throw new RangeError(`no mode for ${rows} x ${columns}`)
      },
    }
    const data = await Dataset.open(await tinyDataset())
    using model = SiT.create({ depth: 2, hidden: 16, heads: 2, patch: 2 }, { inputSize: [8, 8], classes: 5 })
    const align = { encoder: small, depth: 1 }
    expect(() => new Trainer({ model, data, batch: 2, align })).toThrow('no mode for 4 x 4')
  })

  test('a DiT is not aligned with itself', async () => {
    const data = await Dataset.open(await tinyDataset())
    using model = DiT.create({ depth: 2, hidden: 16, heads: 2, patch: 2 }, { inputSize: [8, 8], classes: 5 })
    expect(() => new Trainer({ model, data, batch: 2, selfAlign })).toThrow(
      'Self-alignment needs times between steps, which a DiT has not; it is for SiT models.',
    )
  })

  test('other parts than the checkpoint has are refused', async () => {
    const root = await tinyDataset()
    const first = await trainer(root, { align })
    const checkpoint = await first.save(temporaryFolder())
    const second = await trainer(root, { align: { ...align, projector: 'conv' } })
    await expect(second.restore(checkpoint)).rejects.toThrow("is of a model with projector mlp, this run's has conv.")
    for (const run of [first, second]) {
      await run.dispose()
      run.model.dispose()
    }
  })

  const WRONG: readonly (readonly [options: Variation, message: string])[] = [
    [
      { selfAlign: { ...selfAlign, teacherDepth: 3 } },
      'Self-alignment aims at block 3, and the model has blocks 1 to 2.',
    ],
    [{ selfAlign: { ...selfAlign, depth: 0 } }, 'Self-alignment is of block 0, and the model has blocks 1 to 2.'],
    [
      { disperse: { weight: 1, temperature: 1, depth: 9 } },
      'The dispersive loss is of block 9, and the model has blocks 1 to 2.',
    ],
    [
      { route: { share: 0.5, from: 1, to: 2 } },
      'Tokens cannot go past blocks 1 to 2; expected a first and a last one of 2 to 2, for all tokens pass block 1.',
    ],
    [{ route: { share: 0.5, from: 2, to: 3 } }, 'Tokens cannot go past blocks 2 to 3; expected a first'],
    [
      { route: { share: 0.01, from: 2, to: 2 } },
      'A share of 0.01 of 16 tokens leaves 16 of them in the routed blocks; expected 1 at least, and not all.',
    ],
  ]
  test.each(WRONG)('%j', async (options, message) => {
    const root = await tinyDataset()
    const data = await Dataset.open(root)
    using model = SiT.create({ depth: 2, hidden: 16, heads: 2, patch: 2 }, { inputSize: [8, 8], classes: 5 })
    expect(() => new Trainer({ model, data, batch: 2, ...options })).toThrow(message)
  })

  const INSIDE: readonly (readonly [options: Variation, message: string])[] = [
    [
      { align: { ...align, depth: 2, projector: 'conv' } },
      'The convolution projects the grid of all tokens after block 2, and blocks 2 to 3 see 8 of 16; take the projector mlp, or align',
    ],
    [
      { align: { ...align, depth: 2, loss: 'nt-xent' } },
      'NT-Xent contrasts all tokens of an image after block 2, and blocks 2 to 3 see 8 of 16; take the cosine, or align',
    ],
    [
      { disperse: { weight: 1, temperature: 1, depth: 2 } },
      'The dispersive loss compares samples token by token after block 2, and blocks 2 to 3 see other tokens of each; disperse',
    ],
  ]
  test.each(INSIDE)('inside of a route: %j', async (options, message) => {
    const data = await Dataset.open(await tinyDataset())
    using model = SiT.create({ depth: 3, hidden: 16, heads: 2, patch: 2 }, { inputSize: [8, 8], classes: 5 })
    const route = { share: 0.5, from: 2, to: 3 }
    expect(() => new Trainer({ model, data, batch: 2, route, ...options })).toThrow(message)
  })
})
