/** Runs with alignment and its variants: how they go on, what their steps report, and what is refused. */
import { afterEach, beforeEach, expect, test } from 'vitest'
import { Dataset } from '../../src/data/dataset.ts'
import { DiT } from '../../src/models/dit.ts'
import { SiT } from '../../src/models/sit.ts'
import { memoryStats } from '../../src/tensor/device.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { Trainer } from '../../src/training/trainer.ts'
import type { TrainerOptions, TrainingStep } from '../../src/training/trainer-options.ts'
import { attentiveEncoder, classTokenEncoder, constantEncoder } from '../data/constant-encoder.ts'
import { tinyDataset } from '../data/tiny-dataset.ts'
import { temporaryFolder } from '../temporary-folder.ts'

let liveBytes: number
beforeEach(() => {
  liveBytes = memoryStats('cpu').liveBytes
})
afterEach(() => {
  expect(memoryStats('cpu').liveBytes, 'tensors that were left').toBe(liveBytes)
})

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
      align,
      selfAlign,
      contrast: { weight: 0.05 },
      disperse: { weight: 0.5, temperature: 0.5, depth: 2 },
      alignSchedule: { until: 3 },
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

test.each<readonly [what: string, options: Variation, message: string]>([
  ['a projector', { align: { ...align, projector: 'conv' } }, "projector mlp, this run's has conv."],
  ['a block', { align: { ...align, depth: 2 } }, "alignDepth 1, this run's has 2."],
])('another part than the checkpoint has is refused: %s', async (_, options, message) => {
  const root = await tinyDataset()
  const first = await trainer(root, { align })
  const checkpoint = await first.save(temporaryFolder())
  const second = await trainer(root, options)
  await expect(second.restore(checkpoint)).rejects.toThrow(`is of a model with ${message}`)
  for (const run of [first, second]) {
    await run.dispose()
    run.model.dispose()
  }
})

const WRONG: readonly (readonly [options: Variation & Partial<Pick<TrainerOptions, 'batch'>>, message: string])[] = [
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
    { batch: 1, disperse: { weight: 1, temperature: 1, depth: 1 } },
    'The dispersive loss pushes the samples of a batch apart, and a batch of 1 has no two; take 2 at least.',
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
