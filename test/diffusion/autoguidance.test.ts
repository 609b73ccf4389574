import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { sampleDiffusion } from '../../src/diffusion/ddpm-sampler.ts'
import type { Guidance } from '../../src/diffusion/guidance.ts'
import { sampleImages } from '../../src/diffusion/sample-images.ts'
import { sampleToFolder } from '../../src/diffusion/sample-to-folder.ts'
import { type SamplerOptions, sampleFlow } from '../../src/diffusion/samplers.ts'
import { readSamplingRecord } from '../../src/diffusion/sampling-record.ts'
import { DiT } from '../../src/models/dit.ts'
import { SiT } from '../../src/models/sit.ts'
import { scope } from '../../src/tensor/scope.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { random } from '../reference/array.ts'

const CONFIG = { classes: 3, channels: 4, inputSize: [4, 4] as [number, number] }
const SHAPE = [2, 4, 4, 4]
const LABELS = Int32Array.of(2, 0)
const WHOLE = { low: 0, high: 1 }

/** Of the two models of a pair the better one is wider. */
type Which = 'model' | 'guide'
const HIDDEN: Readonly<Record<Which, number>> = { model: 32, guide: 16 }

function create<M extends SiT | DiT>(make: typeof SiT.create | typeof DiT.create, which: Which, more: object = {}): M {
  const sizes = { depth: 1, hidden: HIDDEN[which], heads: 2, patch: 2 }
  const model = make(sizes, { ...CONFIG, ...more }) as M
  // The adaLN-zero start predicts zeros.
  model.arena.array('weights').write(Float32Array.from(random([model.arena.size], HIDDEN[which], 0.3).data))
  return model
}

const sit = (which: Which, more?: object) => create<SiT>(SiT.create, which, more)
const dit = (which: Which, more?: object) => create<DiT>(DiT.create, which, more)

const noiseOf = (shape: readonly number[], seed: number) =>
  Tensor.from(Float32Array.from(random(shape, seed).data), shape, 'cpu')

/** What one step makes of a model. */
async function stepped(
  model: SiT | DiT,
  guidance?: Guidance,
  options: Partial<SamplerOptions> = {},
): Promise<Float64Array> {
  using noise = noiseOf(SHAPE, 5)
  const width = model.classTokenWidth
  using token = width === undefined ? undefined : noiseOf([2, width], 6)
  const given = { steps: 1, ...(guidance && { guidance }) }
  using state =
    model instanceof DiT
      ? await sampleDiffusion(model, noise, LABELS, { mode: 'ddim', ...given })
      : await sampleFlow(model, noise, LABELS, {
          mode: 'ode',
          ...given,
          ...(token && { classToken: { start: token } }),
          ...options,
        })
  return await state.dataAs('f64')
}

/** The guide's, and by `scale` what the model has more than it: a step of Euler's or DDIM's is linear in the prediction. */
const between = (model: Float64Array, guide: Float64Array, scale: number) =>
  model.map((value, i) => guide[i]! + scale * (value - guide[i]!))

function expectNear(actual: Float64Array, expected: Float64Array): void {
  const largest = expected.reduce((most, value) => Math.max(most, Math.abs(value)), 0)
  // Predictions are in float32; combined in float64, or where some of the channels are guided in float32.
  const furthest = actual.reduce((most, value, i) => Math.max(most, Math.abs(value - expected[i]!)), 0)
  expect(furthest).toBeLessThanOrEqual(8 * 2 ** -24 * largest)
}

describe('one step goes from the guide through the model', () => {
  const CASES: readonly [string, (which: Which) => SiT | DiT][] = [
    ['a SiT', sit],
    ['an original SiT, whose time runs the other way', (which) => sit(which, { convention: 'sit' })],
    ['a SiT without a null class', (which) => sit(which, { classDropout: 0 })],
    ['a SiT with a class token', (which) => sit(which, { classTokenWidth: 8 })],
    ['a DiT, which has a variance of its own', dit],
  ]
  test.each(CASES)('of %s', async (_, make) => {
    using model = make('model')
    using guide = make('guide')
    const scale = 2.5
    const own = await stepped(model)
    const expected = between(own, await stepped(guide), scale)
    const guided = await stepped(model, { scale, ...WHOLE, guide })
    expectNear(guided, expected)
    expect(guided).not.toEqual(own)
  })

  test('of the first channels alone', async () => {
    using model = sit('model')
    using guide = sit('guide')
    const own = await stepped(model)
    const all = between(own, await stepped(guide), 2)
    const guided = await stepped(model, { scale: 2, ...WHOLE, guide, channels: 1 })
    // Of each of two samples the first of four channels.
    expectNear(
      guided,
      own.map((value, i) => (Math.floor(i / 16) % 4 === 0 ? all[i]! : value)),
    )
  })
})

test('outside of its interval it is not asked', async () => {
  using model = sit('model')
  using guide = sit('guide')
  expect(await stepped(model, { scale: 2, low: 0, high: 0.9, guide })).toEqual(await stepped(model))
  expect(await stepped(model, { scale: 1, ...WHOLE, guide })).toEqual(await stepped(model))
})

test('in batches, by an SDE and by dopri5, images depend on their number alone', async () => {
  using model = sit('model')
  using guide = sit('guide')
  const guidance = { scale: 1.5, ...WHOLE, guide }
  const images = async (options: object, batch: number) => {
    const made: number[] = []
    const labels = Int32Array.of(0, 1, 2)
    for await (const { latents } of sampleImages(model, {
      mode: 'sde',
      steps: 3,
      guidance,
      labels,
      seed: 1,
      batch,
      ...options,
    })) {
      made.push(...latents)
    }
    return Float64Array.from(made)
  }
  const whole = await images({}, 3)
  expectNear(await images({}, 2), whole)
  expect((await images({ mode: 'ode', solver: 'dopri5' }, 3)).every(Number.isFinite)).toBe(true)
})

describe('a guide that predicts something else is refused', () => {
  const WRONG: readonly [string, () => SiT | DiT, string][] = [
    ['other channels', () => sit('guide', { channels: 3 }), 'its channels is 3, not 4'],
    ['another size', () => sit('guide', { inputSize: [6, 4] }), 'its input size is 6 x 4, not 4 x 4'],
    ['other classes', () => sit('guide', { classes: 5 }), 'its classes is 5, not 3'],
    ['another time', () => sit('guide', { convention: 'sit' }), 'its convention of time is sit, not repa'],
    ['a class token', () => sit('guide', { classTokenWidth: 8 }), 'its class token is 8, not none'],
    [
      'another kind',
      () => dit('guide'),
      'its kind is DiT, not SiT; its learned variance is true, not false; its convention of time is none, not repa',
    ],
  ]
  test.each(WRONG)('%s', async (_, make, difference) => {
    using model = sit('model')
    using guide = make()
    await expect(stepped(model, { scale: 2, ...WHOLE, guide })).rejects.toThrow(
      new RangeError(`The guide does not predict what the model does: ${difference}.`),
    )
  })

  test.each<[what: string, known: Partial<Guidance>, path: SamplerOptions['path'], difference: string]>([
    ['the path that it learned', { guidePath: 'cosine' }, undefined, 'its path is cosine, not linear'],
    ['the path that is sampled along', { guidePath: 'linear' }, 'cosine', 'its path is linear, not cosine'],
    [
      'the statistics of its latents',
      { latentStatistics: { model: 'a', guide: 'b' } },
      undefined,
      'its latents were standardised by other statistics',
    ],
  ])('by %s', async (_, known, path, difference) => {
    using model = sit('model')
    using guide = sit('guide')
    const sampler = path === undefined ? {} : { path }
    const guidance = { scale: 2, ...WHOLE, guide, ...known }
    const sentence = `The guide does not predict what the model does: ${difference}.`
    await expect(stepped(model, guidance, sampler)).rejects.toThrow(new RangeError(sentence))
    // And before a folder's record goes.
    const images = sampleImages(model, {
      mode: 'ode',
      steps: 1,
      ...sampler,
      guidance,
      labels: LABELS,
      seed: 0,
      batch: 2,
    })
    await expect(images.next()).rejects.toThrow(new RangeError(sentence))
  })

  test.each<[what: string, known: Partial<Guidance>]>([
    ['the same', { guidePath: 'linear', latentStatistics: { model: 'a', guide: 'a' } }],
    ['known of one of the two', { latentStatistics: { model: 'a' } }],
    ['known of the other', { latentStatistics: { guide: 'a' } }],
    ['not known', { guidePath: undefined, latentStatistics: { model: undefined, guide: undefined } }],
  ])('but not for what it learned from where that is %s', async (_, known) => {
    using model = sit('model')
    using guide = sit('guide')
    const guidance = { scale: 2, ...WHOLE, guide }
    expect(await stepped(model, { ...guidance, ...known })).toEqual(await stepped(model, guidance))
  })

  test('nor for its path where a DiT, which has none, is sampled', async () => {
    using model = dit('model')
    using guide = dit('guide')
    const guidance = { scale: 2, ...WHOLE, guide }
    expect(await stepped(model, { ...guidance, guidePath: 'cosine' })).toEqual(await stepped(model, guidance))
  })

  test('a label that it does not know', async () => {
    using model = sit('model')
    using guide = sit('guide', { classDropout: 0 })
    using noise = scope(() => noiseOf(SHAPE, 5))
    const guidance = { scale: 2, ...WHOLE, guide }
    await expect(sampleFlow(model, noise, Int32Array.of(3, 3), { mode: 'ode', steps: 1, guidance })).rejects.toThrow(
      'There is no class 3: the model has the classes 0 to 2.',
    )
  })

  test('a null label beside it', async () => {
    using model = sit('model')
    using guide = sit('guide')
    await expect(stepped(model, { scale: 2, ...WHOLE, guide, nullLabel: 1 })).rejects.toThrow(
      'A guide is asked with the labels, and nullLabel 1 is of guidance without one; give one of them.',
    )
  })

  test('what is no model', async () => {
    using model = sit('model')
    const guidance = { scale: 2, ...WHOLE, guide: 'runs/xl' as never }
    await expect(stepped(model, guidance)).rejects.toThrow('guidance.guide is "runs/xl": expected a SiT or a DiT')
  })
})

test.each([
  [undefined, { guide: null }],
  [
    { checkpoint: 'runs/early', step: 50_000 },
    { guide: 'runs/early', guideStep: 50_000 },
  ],
])('the images say what guided them: %o', async (guideOrigin, expected) => {
  using model = sit('model')
  using guide = sit('guide')
  const folder = await mkdtemp(join(tmpdir(), 'repa-autoguidance-'))
  onTestFinished(() => rm(folder, { recursive: true }))
  const guidance = { scale: 2, ...WHOLE, guide }
  const origin = { guide: guideOrigin }
  await sampleToFolder(model, { folder, mode: 'ode', steps: 1, guidance, count: 1, seed: 0, batch: 1, origin })
  expect((await readSamplingRecord(folder))?.sampling).toMatchObject({
    guidanceScale: 2,
    guidedChannels: 4,
    ...expected,
  })
})
