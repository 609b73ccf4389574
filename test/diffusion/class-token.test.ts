/** Sampling of a model that denoises a class token along (REG): its samplers.py once more, plainly and in float64. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { Guidance } from '../../src/diffusion/guidance.ts'
import { type SampledImages, sampleImages } from '../../src/diffusion/sample-images.ts'
import { sampleToFolder } from '../../src/diffusion/sample-to-folder.ts'
import { odeTimes, sampleFlow, sdeTimes } from '../../src/diffusion/samplers.ts'
import { readSamplingRecord } from '../../src/diffusion/sampling-record.ts'
import { SiT } from '../../src/models/sit.ts'
import type { InterpolantPath } from '../../src/native.ts'
import { memoryStats } from '../../src/tensor/device.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { fromValues, type NdArray, random } from '../reference/array.ts'
import { pathCoefficients } from '../reference/interpolant.ts'
import { temporaryFolder } from '../temporary-folder.ts'

const [BATCH, WIDTH, STEPS, NULL] = [2, 10, 5, 4]
const SHAPE = [BATCH, 3, 6, 6]
const LABELS = Int32Array.of(1, 3)

function tiny(): SiT {
  const model = SiT.create(
    { depth: 2, hidden: 32, heads: 2, patch: 2 },
    { inputSize: [6, 6], channels: 3, classes: NULL, classTokenWidth: WIDTH },
  )
  // The adaLN-zero start predicts zeros.
  model.arena.array('weights').write(Float32Array.from(random([model.arena.size], 11, 0.15).data))
  return model
}

const upload = ({ shape, data }: NdArray) => Tensor.from(Float32Array.from(data), shape, 'cpu')

let liveBytes: number
beforeEach(() => {
  liveBytes = memoryStats('cpu').liveBytes
})
afterEach(() => {
  expect(memoryStats('cpu').liveBytes, 'tensors that were left').toBe(liveBytes)
})

/** Latents and class token. */
type Pair = readonly [latents: NdArray, token: NdArray]

/** The model's velocities of both, of f32 inputs. */
async function velocities(model: SiT, state: Pair, t: number, labels: Int32Array): Promise<Pair> {
  const [x, token] = state.map(upload) as [Tensor, Tensor]
  using times = Tensor.full([BATCH], t, 'cpu')
  using ids = Tensor.from(labels, [BATCH], 'cpu')
  const { prediction, classToken } = model.forward(x, times, ids, { classToken: token })
  const read = async (tensor: Tensor) => fromValues(tensor.shape, await tensor.data())
  const both: Pair = [await read(prediction), await read(classToken!)]
  for (const tensor of [x, token, prediction, classToken!]) tensor.dispose()
  return both
}

const combined = (terms: readonly (readonly [number, NdArray])[]): NdArray =>
  fromValues(
    terms[0]![1].shape,
    terms[0]![1].data.map((_, i) => terms.reduce((sum, [factor, { data }]) => sum + factor * data[i]!, 0)),
  )

interface Setting {
  readonly mode: 'ode' | 'sde'
  readonly solver?: 'euler' | 'heun'
  readonly path: InterpolantPath
  readonly guidance: Guidance
}

/** The guided velocities at a time; `at` decides whether guidance is active. */
async function field(model: SiT, state: Pair, t: number, at: number, { guidance }: Setting): Promise<Pair> {
  const conditional = await velocities(model, state, t, LABELS)
  const { scale, low, high, classTokenScale = scale } = guidance
  if (!(scale > 1 && at >= low && at <= high)) return conditional
  const unconditional = await velocities(model, state, t, new Int32Array(BATCH).fill(NULL))
  const guided = (k: 0 | 1, by: number) =>
    combined([
      [1, unconditional[k]],
      [by, conditional[k]],
      [-by, unconditional[k]],
    ])
  return [guided(0, scale), classTokenScale > 0 ? guided(1, classTokenScale) : conditional[1]]
}

const pair = (of: (k: 0 | 1) => NdArray): Pair => [of(0), of(1)]

async function sampled(model: SiT, start: Pair, noise: (step: number) => Pair, setting: Setting): Promise<NdArray> {
  const { mode, solver, path } = setting
  const times = mode === 'ode' ? odeTimes(STEPS) : sdeTimes(STEPS)
  let state = start
  for (let i = 0; i < STEPS; i++) {
    const [t, next, from] = [times[i]!, times[i + 1]!, state]
    const dt = next - t
    const v = await field(model, from, t, t, setting)
    if (mode === 'ode') {
      const euler = pair((k) =>
        combined([
          [1, from[k]],
          [dt, v[k]],
        ]),
      )
      if (solver === 'euler' || i === STEPS - 1) {
        state = euler
        continue
      }
      const second = await field(model, euler, next, t, setting)
      state = pair((k) =>
        combined([
          [1, from[k]],
          [dt / 2, v[k]],
          [dt / 2, second[k]],
        ]),
      )
      continue
    }
    const { alpha, sigma, dAlpha, dSigma } = pathCoefficients(path, t)
    const ratio = alpha / dAlpha
    const variance = sigma ** 2 - ratio * dSigma * sigma
    const drawn = i < STEPS - 1 ? noise(i) : undefined
    state = pair((k) => {
      const score = combined([
        [ratio / variance, v[k]],
        [-1 / variance, from[k]],
      ])
      const drift = combined([
        [1, v[k]],
        [-t, score],
      ])
      const moved = combined([
        [1, from[k]],
        [dt, drift],
      ])
      return drawn
        ? combined([
            [1, moved],
            [Math.sqrt(2 * t) * Math.sqrt(-dt), drawn[k]],
          ])
        : moved
    })
  }
  return state[0]
}

const whole = { low: 0, high: 1 }
const CASES: readonly (readonly [string, Setting])[] = [
  ['Euler, unguided', { mode: 'ode', solver: 'euler', path: 'linear', guidance: { scale: 1, ...whole } }],
  ['Heun, guided', { mode: 'ode', solver: 'heun', path: 'linear', guidance: { scale: 2.3, ...whole } }],
  ['the SDE, unguided', { mode: 'sde', path: 'linear', guidance: { scale: 1, ...whole } }],
  [
    'the SDE, both guided alike in an interval',
    { mode: 'sde', path: 'cosine', guidance: { scale: 2.3, low: 0.2, high: 0.8 } },
  ],
  [
    'the SDE, the class token guided less',
    { mode: 'sde', path: 'linear', guidance: { scale: 2.3, classTokenScale: 1.5, low: 0, high: 0.8 } },
  ],
  [
    'the SDE, the class token not guided',
    { mode: 'sde', path: 'linear', guidance: { scale: 2.3, classTokenScale: 0, ...whole } },
  ],
]

describe('a class token is sampled along', () => {
  test.each(CASES)('%s', async (_, setting) => {
    using model = tiny()
    const start: Pair = [random(SHAPE, 1, 2), random([BATCH, WIDTH], 2, 2)]
    const noise = (step: number): Pair => [random(SHAPE, 10 + step, 2), random([BATCH, WIDTH], 20 + step, 2)]
    const expected = await sampled(model, start, noise, setting)
    const [latents, token] = start.map(upload) as [Tensor, Tensor]
    using found = await sampleFlow(model, latents, LABELS, {
      ...setting,
      steps: STEPS,
      noise: (step) => upload(noise(step)[0]),
      classToken: { start: token, noise: (step) => upload(noise(step)[1]) },
    })
    const values = await found.dataAs('f64')
    // Both show the model f32 inputs; where a state lies between two of them, one rounding of 2^-24 goes through the model.
    for (const [i, value] of expected.data.entries()) expect(Math.abs(values[i]! - value)).toBeLessThan(1e-5)
    for (const tensor of [latents, token]) tensor.dispose()
  })

  test('a scale of its own changes the images', async () => {
    using model = tiny()
    const imagesAt = async (classTokenScale: number | undefined) => {
      const guidance = { scale: 2.3, ...whole, ...(classTokenScale !== undefined && { classTokenScale }) }
      const options = { mode: 'sde', steps: 3, guidance, labels: LABELS, seed: 1, batch: 2 } as const
      for await (const { latents } of sampleImages(model, options)) return latents
      return undefined
    }
    expect(await imagesAt(2.3)).toEqual(await imagesAt(undefined))
    expect(await imagesAt(0)).not.toEqual(await imagesAt(undefined))
  })

  test('an image depends on its number alone, not on the batch', async () => {
    using model = tiny()
    const all = async (batch: number) => {
      const made: number[] = []
      const options = { mode: 'sde', steps: 3, labels: LABELS, seed: 1, batch } as const
      for await (const { latents } of sampleImages(model, options)) made.push(...latents)
      return made
    }
    const [single, together] = [await all(1), await all(2)]
    for (const [i, value] of together.entries()) expect(Math.abs(single[i]! - value)).toBeLessThan(1e-5)
  })

  test.each(['ode', 'sde'] as const)('an image of a part is that of the whole, by the %s', async (mode) => {
    using model = tiny()
    const second = async (part: { labels: Int32Array; firstImage?: number }) => {
      const made = sampleImages(model, { mode, steps: 3, seed: 1, batch: 1, ...part })
      let last: SampledImages | undefined
      for await (const images of made) last = images
      return last
    }
    const whole = await second({ labels: LABELS })
    expect(whole?.first).toBe(1)
    expect(await second({ labels: LABELS.subarray(1), firstImage: 1 })).toEqual(whole)
  })

  test('the record beside the images says how it was guided', async () => {
    using model = tiny()
    const folder = temporaryFolder()
    const guidance = { scale: 2, classTokenScale: 1.5, ...whole }
    await sampleToFolder(model, { folder, mode: 'sde', steps: 2, guidance, count: 2, seed: 0, batch: 2 })
    expect((await readSamplingRecord(folder))?.sampling).toMatchObject({
      guidanceScale: 2,
      classTokenGuidanceScale: 1.5,
    })
  })

  test('by dopri5 it is refused', async () => {
    using model = tiny()
    const options = { mode: 'ode', solver: 'dopri5', steps: 5, labels: LABELS, seed: 0, batch: 2 } as const
    await expect(sampleImages(model, options).next()).rejects.toThrow(
      'dopri5 chooses its steps by the error of the latents, and this model denoises a class token along (REG); take euler or heun.',
    )
  })
})
