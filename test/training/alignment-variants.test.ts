import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { ntXent } from '../../src/alignment/nt-xent.ts'
import { teacherStates } from '../../src/alignment/self-alignment.ts'
import { SiT, type SiTOptions } from '../../src/models/sit.ts'
import type { RoutedBlocks } from '../../src/models/token-route.ts'
import { memoryStats } from '../../src/tensor/device.ts'
import { randomTokens } from '../../src/tensor/random.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { forwardBackward, type Losses, type PassOptions } from '../../src/training/forward-backward.ts'
import type { TrainingBatch } from '../../src/training/objective.ts'
import { SiTObjective } from '../../src/training/sit-objective.ts'
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
    condition: Tensor.from(Int32Array.from([0, 4, 2]), [BATCH], 'cpu'),
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
  const { latents, noise, condition, t, teacher, negatives, classToken, targets, attentionTargets = [], route } = batch
  const read = attentionTargets.map(({ qkv }) => qkv)
  const { ids, places } = route?.kept ?? {}
  const { clean, noise: noiseOfToken } = classToken ?? {}
  for (const tensor of [
    latents,
    noise,
    condition,
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
    condition: Tensor.from(Int32Array.from([0, 4, 2]), [BATCH], 'cpu'),
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
      const output = model.forward(given.input, given.t, given.condition, {
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
      using own = model.hiddenStates(given.input, given.t, given.condition, depth)
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
