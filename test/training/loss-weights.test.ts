/** What is added to the objective has the same weight in the gradient of a step and in what the step reports. */
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { Encoder } from '../../src/alignment/encoder.ts'
import { ntXent } from '../../src/alignment/nt-xent.ts'
import { teacherStates } from '../../src/alignment/self-alignment.ts'
import { spatiallyNormalized } from '../../src/alignment/spatial-norm.ts'
import { Dataset } from '../../src/data/dataset.ts'
import { type Batch, Loader } from '../../src/data/loader.ts'
import { ALONE } from '../../src/distributed/world.ts'
import { memoryStats } from '../../src/tensor/device.ts'
import type { PackedHeads } from '../../src/tensor/ops/attention-alignment.ts'
import { samplePosterior } from '../../src/tensor/ops/interpolant.ts'
import { firstToken } from '../../src/tensor/ops/tokens.ts'
import { scope } from '../../src/tensor/scope.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { alignModel } from '../../src/training/align-model.ts'
import { velocitiesAt } from '../../src/training/contrastive-flow.ts'
import { forwardBackward } from '../../src/training/forward-backward.ts'
import type { Objective } from '../../src/training/objective.ts'
import { objectiveFor } from '../../src/training/objectives.ts'
import { AdamW } from '../../src/training/optimizer.ts'
import { optimizerOptionsOf } from '../../src/training/optimizer-settings.ts'
import type { StepInputs } from '../../src/training/passes.ts'
import { type ResolvedTrainerOptions, resolveTrainerOptions } from '../../src/training/resolved-options.ts'
import { StepComputation } from '../../src/training/step-computation.ts'
import { type LossNumbers, type LossWeights, stepReport } from '../../src/training/step-report.ts'
import type { TrainerOptions } from '../../src/training/trainer-options.ts'
import { attentiveEncoder } from '../data/constant-encoder.ts'
import { tinyDataset } from '../data/tiny-dataset.ts'
import { random } from '../reference/array.ts'
import { modelOf } from './tiny-trainer.ts'

let liveBytes: number
beforeEach(() => {
  liveBytes = memoryStats('cpu').liveBytes
})
afterEach(() => {
  expect(memoryStats('cpu').liveBytes, 'tensors that were left').toBe(liveBytes)
})

/** With tokens that differ, which NT-Xent tells apart, and with all that an encoder may have. */
const encoder: Encoder = {
  ...attentiveEncoder,
  hasClassToken: true,
  computeIn() {},
  features(images, grid, options = {}) {
    attentiveEncoder.features(images, grid, options).dispose()
    const shape = [images.shape[0]!, (options.classToken ? 1 : 0) + grid[0] * grid[1], 8]
    return Tensor.from(Float32Array.from(random(shape, 40).data), shape, images.device)
  },
}
const align = { encoder, depth: 1 }
const TEMPERATURE = 0.2

/** Two weights without a schedule, and one that falls along a line from step 0 to 5, of which 1 − 2/5 is left. */
const STEP = 2
const GIVEN = [
  { weight: 0.25, alignSchedule: {}, scheduled: 0.25 },
  { weight: 0.5, alignSchedule: {}, scheduled: 0.5 },
  { weight: 0.5, alignSchedule: { until: 5, decay: 'linear' }, scheduled: 0.3 },
] as const

interface Variant {
  readonly name: string
  readonly options: (weight: number) => Partial<TrainerOptions>
  /** At `STEP`: of a weight, and of one that the schedule lets fall. */
  readonly weights: (given: { readonly weight: number; readonly scheduled: number }) => Partial<LossWeights>
  /** Takes no schedule. */
  readonly unscheduled?: true
}

const VARIANTS: readonly Variant[] = [
  {
    name: 'REPA',
    options: (weight) => ({ align: { ...align, weight } }),
    weights: ({ scheduled }) => ({ align: scheduled }),
  },
  {
    name: 'NT-Xent',
    options: (weight) => ({ align: { ...align, weight, loss: 'nt-xent', temperature: TEMPERATURE } }),
    weights: ({ scheduled }) => ({ align: scheduled }),
  },
  {
    name: 'iREPA',
    options: (weight) => ({ align: { ...align, weight, projector: 'conv', spatialNorm: 0.6 } }),
    weights: ({ scheduled }) => ({ align: scheduled }),
  },
  {
    name: 'HASTE',
    options: (weight) => ({ align: { encoder, depth: 2, weight, attention: { weight: 4 * weight } } }),
    weights: ({ scheduled }) => ({ align: scheduled, attention: 4 * scheduled }),
  },
  {
    name: 'REG',
    options: (weight) => ({ align: { ...align, weight }, classToken: { weight: 4 * weight } }),
    weights: ({ weight }) => ({ align: weight, classToken: 4 * weight }),
    unscheduled: true,
  },
  {
    name: 'self-alignment',
    options: (weight) => ({ selfAlign: { weight, depth: 1, teacherDepth: 2, timeOffset: 0.2 } }),
    weights: ({ scheduled }) => ({ selfAlign: scheduled }),
  },
  {
    name: 'the dispersive loss',
    options: (weight) => ({ disperse: { weight, temperature: 0.5, depth: 1 } }),
    weights: ({ weight }) => ({ dispersive: weight }),
  },
  {
    name: 'contrastive flow matching',
    options: (weight) => ({ contrast: { weight } }),
    weights: ({ weight }) => ({ contrastive: weight }),
  },
  {
    name: 'the cosine of velocities',
    options: (weight) => ({ velocityCosineWeight: weight }),
    weights: ({ weight }) => ({ velocityCosine: weight }),
  },
  {
    name: 'a route',
    options: (weight) => ({ align: { ...align, weight }, route: { share: 0.5, from: 2, to: 2 } }),
    weights: ({ scheduled }) => ({ align: scheduled }),
  },
  {
    name: 'all at once',
    options: (weight) => ({
      align: { encoder, depth: 2, weight, attention: { weight: 4 * weight } },
      selfAlign: { weight: 2 * weight, depth: 1, teacherDepth: 2, timeOffset: 0.2 },
      contrast: { weight: weight / 4 },
      disperse: { weight: 8 * weight, temperature: 0.5, depth: 2 },
      velocityCosineWeight: weight / 2,
    }),
    weights: ({ weight, scheduled }) => ({
      align: scheduled,
      attention: 4 * scheduled,
      selfAlign: 2 * scheduled,
      contrastive: weight / 4,
      dispersive: 8 * weight,
      velocityCosine: weight / 2,
    }),
  },
]

const NONE: LossWeights = {
  align: undefined,
  attention: undefined,
  selfAlign: undefined,
  dispersive: undefined,
  contrastive: undefined,
  velocityCosine: 0,
  classToken: undefined,
}

/** A pass of a step's inputs at these weights; leaves its gradients in the arena. The objective weighs the cosine of velocities. */
function passAt(
  weights: Partial<LossWeights>,
  { options, inputs, objective }: { options: ResolvedTrainerOptions; inputs: StepInputs; objective: Objective },
): void {
  const { model, data, encoders, alignSpatialNorm: gamma, attention, selfAlign, disperse, route, alignLoss } = options
  const { t, teacherT, noise, negatives, classTokenNoise, keptIds, keptPlaces } = inputs
  const latents = samplePosterior(inputs.stored!, inputs.posteriorNoise!, data.latentScale, 0)
  const condition = inputs.labels!
  const read: PackedHeads[] = []
  const targets = encoders.map(() => {
    const features = encoder.features(inputs.images!, model.grid, {
      classToken: classTokenNoise !== undefined,
      attention: attention && { ...attention.encoder, show: (heads) => read.push(heads) },
    })
    return gamma === undefined ? features : spatiallyNormalized(features, gamma)
  })
  const earlier = teacherT && objective.noised({ latents, noise, t: teacherT })
  const velocities = negatives && objective.velocities!({ latents, noise, t })
  forwardBackward(
    model,
    {
      latents,
      condition,
      t,
      noise,
      targets,
      attentionTargets: attention && read,
      teacher: earlier && teacherStates(model, { ...earlier, condition }, selfAlign!.teacherDepth),
      negatives: velocities && velocitiesAt(negatives, velocities, ALONE),
      route: route && { ...route, kept: { ids: keptIds!, places: keptPlaces! } },
      classToken: classTokenNoise && { clean: firstToken(targets[0]!), noise: classTokenNoise },
    },
    {
      objective,
      alignWeight: weights.align ?? 0,
      featureLoss: alignLoss === 'nt-xent' ? ntXent(TEMPERATURE) : undefined,
      attention: attention && { heads: attention.heads, weight: weights.attention ?? 0 },
      selfAlignment: selfAlign && { depth: selfAlign.depth, weight: weights.selfAlign ?? 0 },
      dispersive: disperse && { ...disperse, weight: weights.dispersive ?? 0 },
      contrastiveWeight: weights.contrastive,
      classTokenWeight: weights.classToken,
    },
  )
}

/** One number, for a report of how gradients of so many differ takes minutes. */
const distance = (a: Float32Array, b: Float32Array) => Math.hypot(...a.map((value, i) => value - b[i]!))

async function samplesOf(data: Dataset): Promise<Batch> {
  for await (const samples of new Loader(data, { batch: 2, seed: 0, images: true })) return samples
  throw new Error('no batch')
}

test.each(VARIANTS)('$name', async ({ options: optionsAt, weights: weightsAt, unscheduled }) => {
  const data = await Dataset.open(await tinyDataset())
  const samples = await samplesOf(data)
  for (const { weight, alignSchedule, scheduled } of unscheduled ? GIVEN.slice(0, 2) : GIVEN) {
    using model = modelOf()
    const options = resolveTrainerOptions({ model, data, batch: 2, alignSchedule, ...optionsAt(weight) })
    alignModel(options)
    for (const [role, seed] of [
      ['weights', 11],
      ['ema', 12],
    ] as const) {
      model.arena.array(role).write(Float32Array.from(random([model.arena.size], seed, 0.15).data))
    }
    const weights = { ...NONE, ...weightsAt({ weight, scheduled }) }
    using optimizer = new AdamW(model.arena, optimizerOptionsOf(options), ALONE)
    const { path, weighting, timeShift, velocityCosineWeight } = options
    using objective = objectiveFor(model, { path, weighting, timeShift, velocityCosineWeight })
    const computation = new StepComputation(options, objective, optimizer)
    const gradientAt = async (of: LossWeights): Promise<Float32Array> => {
      using weighed = objectiveFor(model, { velocityCosineWeight: of.velocityCosine ?? 0 })
      scope(() => passAt(of, { options, inputs: computation.draw(samples, STEP, true), objective: weighed }))
      return await model.arena.array('gradients').data()
    }
    const expected = await gradientAt(weights)
    expect(distance(await gradientAt(NONE), expected)).toBeGreaterThan(0)

    const { read } = scope(() => {
      const losses = computation.run(computation.draw(samples, STEP, true), STEP, true)
      return { read: Object.entries(losses).map(async ([name, loss]) => [name, await loss?.item()] as const) }
    })
    const losses = Object.fromEntries(await Promise.all(read)) as LossNumbers
    expect(distance(await model.arena.array('gradients').data(), expected)).toBe(0)

    expect(computation.weightsAt(STEP)).toEqual(weights)
    const report = stepReport(losses, computation.weightsAt(STEP), await optimizer.state())
    expect([report.alignWeight, report.selfAlignWeight]).toEqual([weights.align, weights.selfAlign])
    const added: readonly (readonly [weight: number | undefined, loss: number | undefined])[] = [
      [1, losses.denoising],
      [weights.align, losses.alignment],
      [weights.attention, losses.attentionAlignment],
      [weights.selfAlign, losses.selfAlignment],
      [weights.dispersive, losses.dispersive],
      [weights.contrastive && -weights.contrastive, losses.contrastive],
      [weights.velocityCosine, losses.velocityCosine],
      [weights.classToken, losses.classToken],
    ]
    expect(report.loss).toBeCloseTo(
      added.reduce((sum, [of = 0, loss = 0]) => sum + of * loss, 0),
      12,
    )
  }
})
