import { describe, expect, test } from 'vitest'
import { dopri5 } from '../../src/diffusion/dopri5.ts'
import { sampleFlow } from '../../src/diffusion/samplers.ts'
import { transportLoss, transportPlan } from '../../src/diffusion/transport/loss.ts'
import { sampleTransportOde } from '../../src/diffusion/transport/ode.ts'
import { pathDiffusion, pathPoint, TRANSPORT_PATHS } from '../../src/diffusion/transport/path.ts'
import { diffusionAt, sampleTransportSde } from '../../src/diffusion/transport/sde.ts'
import {
  interval,
  scoreField,
  TRANSPORT_PREDICTIONS,
  transport,
  velocityField,
} from '../../src/diffusion/transport/transport.ts'
import { SiT } from '../../src/models/sit.ts'
import { linearCombination } from '../../src/tensor/ops/float64.ts'
import { randomNormal } from '../../src/tensor/random.ts'
import { Tape } from '../../src/tensor/tape.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { SiTObjective } from '../../src/training/sit-objective.ts'
import { ndArray } from '../tensor/ops/op-case.ts'
import { expectRounded, largestOf } from '../tensor/rounding.ts'

describe.each(TRANSPORT_PATHS)('the path %s', (path) => {
  const times = [0.1, 0.37, 0.5, 0.83]

  test('leads from noise to data, and its slopes are those of its coefficients', () => {
    expect(pathPoint(path, 1).alpha).toBeCloseTo(1, 12)
    expect(pathPoint(path, 0).sigma).toBeCloseTo(1, path === 'VP' ? 4 : 12)
    const h = 1e-5
    for (const t of times) {
      const [before, at, after] = [pathPoint(path, t - h), pathPoint(path, t), pathPoint(path, t + h)]
      expect(at.dAlpha).toBeCloseTo((after.alpha - before.alpha) / (2 * h), 7)
      expect(at.dSigma).toBeCloseTo((after.sigma - before.sigma) / (2 * h), 7)
      expect(at.alphaRatio).toBeCloseTo(at.dAlpha / at.alpha, 9)
      expect(pathDiffusion(at, path)).toBeCloseTo(at.alphaRatio * at.sigma ** 2 - at.sigma * at.dSigma, 9)
    }
  })

  // On a path between one x_0 and one x_1, velocity, score −x_0/σ and noise x_0 are known, and each tells the others.
  test.each(TRANSPORT_PREDICTIONS)('a model of the %s tells velocity and score', (prediction) => {
    const [x0, x1] = [0.7, -1.3]
    for (const t of times) {
      const { alpha, sigma, dAlpha, dSigma } = pathPoint(path, t)
      const x = alpha * x1 + sigma * x0
      const truth = { velocity: dAlpha * x1 + dSigma * x0, score: -x0 / sigma, noise: x0 }
      const value = ({ ofState, ofPrediction }: { ofState: number; ofPrediction: number }) =>
        ofState * x + ofPrediction * truth[prediction]
      expect(value(velocityField(transport(path, prediction), t))).toBeCloseTo(truth.velocity, 9)
      expect(value(scoreField(transport(path, prediction), t))).toBeCloseTo(truth.score, 9)
    }
  })
})

describe('interval', () => {
  test.each([
    ['Linear', 'velocity', undefined, [0, 1]],
    ['Linear', 'noise', undefined, [0.001, 0.999]],
    ['GVP', 'score', undefined, [0.001, 0.999]],
    ['VP', 'velocity', undefined, [0, 0.999]],
    ['Linear', 'velocity', { form: 'sigma', lastStepSize: 0.04 }, [0, 0.96]],
    ['Linear', 'velocity', { form: 'sigma', lastStepSize: 0 }, [0, 1]],
    ['GVP', 'velocity', { form: 'SBDM', lastStepSize: 0.04 }, [0, 0.96]],
    ['Linear', 'score', { form: 'sigma', lastStepSize: 0.1 }, [0.001, 0.9]],
    ['VP', 'score', { form: 'SBDM', lastStepSize: 0.04 }, [0, 0.96]],
    ['VP', 'noise', { form: 'linear', lastStepSize: 0 }, [0, 0.999]],
  ] as const)('of %s and %s, sampled by %o', (path, prediction, sde, ends) => {
    const of = transport(path, prediction)
    expect(interval(of, of.sampleEps, { sde })).toEqual(ends)
  })

  test('velocity models on paths without a singular end have no margin, whatever is given', () => {
    expect(transport('GVP', 'velocity', { sampleEps: 0.1 })).toMatchObject({ trainEps: 0, sampleEps: 0 })
    expect(transport('VP', 'velocity', { sampleEps: 0.1 })).toMatchObject({ trainEps: 1e-5, sampleEps: 0.1 })
  })
})

describe('dopri5', () => {
  const start = () => Tensor.from(new Float64Array([1, -2, 0.5]), [3], 'cpu')
  const decay = (state: Tensor) => linearCombination([[-3, state]])

  test.each([
    [1e-3, 1e-6],
    [1e-8, 1e-10],
  ])('solves dx/dt = -3x to within rtol %f', async (rtol, atol) => {
    using x = start()
    const times = [0, 0.1, 0.35, 0.36, 2]
    const seen: Promise<Float64Array>[] = []
    using last = await dopri5(decay, x, times, { rtol, atol, observe: (state) => seen.push(state.dataAs('f64')) })
    const states = await Promise.all(seen)
    expect(states).toHaveLength(times.length)
    expect(await last.dataAs('f64')).toEqual(states.at(-1))
    states.forEach((state, i) => {
      state.forEach((value, j) => {
        const exact = [1, -2, 0.5][j]! * Math.exp(-3 * times[i]!)
        // A step's error is within the tolerance; this problem takes some ten to sixty, whose errors die out.
        expect(Math.abs(value - exact)).toBeLessThan(10 * (rtol * Math.abs(exact) + atol))
      })
    })
  })

  test.each<readonly [what: string, from: number, atol: number, rtol: number]>([
    ['grows from nothing', 0, 1e-5, 1e-5],
    ['comes near zero, which asks for shorter steps', -40, 1e-9, 1e-8],
  ])('each step of a state that %s is as long as the error of the one before allows', async (_, from, atol, rtol) => {
    // dx/dt = t⁴ from t = 1 on: the method of order 5 is exact, and that of order 4 is off by h⁵ (1/5 − Σ b c⁴) of its weights b.
    const stateAt = (t: number) => from + (t ** 5 - 1) / 5
    const off =
      (22642 / 50085) * 0.3 ** 4 + (451 / 720) * 0.8 ** 4 - (12231 / 42400) * (8 / 9) ** 4 + 649 / 6300 + 1 / 60 - 1 / 5
    const times: number[] = []
    using one = Tensor.from(Float32Array.of(1), [1], 'cpu')
    const slopeAt = (_state: Tensor, t: number) => {
      times.push(t)
      return linearCombination([[t ** 4, one]])
    }
    using x = Tensor.from(Float32Array.of(from), [1], 'cpu')
    using _last = await dopri5(slopeAt, x, [1, 3], { atol, rtol })
    // Two slopes choose the first step, and each step that is tried takes six more, the first of them at a fifth of it.
    const tries = times.slice(2).flatMap((time, i, all) => (i % 6 === 5 ? [{ fifth: all[i - 5]!, end: time }] : []))
    const lengths = tries.map(({ fifth, end }) => (end - fifth) / 0.8)
    // Where there is nothing yet, a hundred times the trial of 10⁻⁶; times are exact to 2⁻⁵³ of 1.
    if (from === 0) expect(Math.abs(lengths[0]! - 1e-4)).toBeLessThan(2 ** -50)
    const errors: number[] = []
    let reached = 1
    for (const [i, length] of lengths.slice(0, -1).entries()) {
      const end = reached + length
      const scale = atol + rtol * Math.max(Math.abs(stateAt(reached)), Math.abs(stateAt(end)))
      const error = (length ** 5 * Math.abs(off)) / scale
      const factor = Math.min(10, Math.max(0.9 / error ** (1 / 5), error < 1 ? 1 : 0.2))
      // Seven slopes of at most end⁴, by weights whose sizes add up to less than 1/4, each of four roundings, cancel down to the error.
      const cancelled = factor < 10 ? end ** 4 / length ** 4 / Math.abs(off) / 5 : 0
      const rounding = 2 ** -53 * (cancelled + 8 * (end / length))
      expect(Math.abs(lengths[i + 1]! / (length * factor) - 1)).toBeLessThan(rounding)
      errors.push(error)
      if (error <= 1) reached = end
    }
    expect(errors.length).toBeGreaterThan(4)
    // One is tried again, and others are kept though the next may be no longer.
    if (from < 0) {
      expect(Math.max(...errors)).toBeGreaterThan(1)
      expect(errors.some((error) => error < 1 && error > 0.9 ** 5)).toBe(true)
    }
  })

  test('says where a state stops being finite', async () => {
    using x = start()
    const explode = (state: Tensor, t: number) => linearCombination([[t > 0.5 ? Number.NaN : 1, state]])
    await expect(dopri5(explode, x, [0, 1], { rtol: 1e-3, atol: 1e-6 })).rejects.toThrow(
      /^dopri5: the state is no longer finite after t = 0\.\d+\.$/,
    )
  })
})

const SHAPE = [2, 4, 8, 8]
const noise = (step: number) => randomNormal(SHAPE, { seed: 3, stream: 'sdeNoise', step }, 'cpu')

describe('the SDE', () => {
  test('refuses a diffusion that is infinite', async () => {
    using start = noise(0)
    const still = (x: Tensor) => Tensor.zeros(x.shape, 'cpu')
    await expect(
      sampleTransportSde(transport('Linear', 'velocity'), still, start, { form: 'SBDM', steps: 4, noise }),
    ).rejects.toThrow('The diffusion SBDM is infinite at t = 0 of the Linear path; choose another form')
  })

  test.each([
    ['constant', 0.3, 2],
    ['sigma', 0.3, 2 * 0.7],
    ['linear', 0.3, 2 * 0.7],
    ['decreasing', 0, 0.25 * 9],
    ['increasing-decreasing', 0.5, 2],
    ['SBDM', 0.5, 2 * (0.25 / 0.5 + 0.5)],
  ] as const)('w of %s at %f', (form, t, w) => {
    expect(diffusionAt('Linear', form, 2, t)).toBeCloseTo(w, 12)
  })
})

test('a SiT whose time runs as in its own code is sampled and trained alike by both programs', async () => {
  using model = SiT.create(
    { depth: 2, hidden: 32, heads: 2, patch: 2 },
    { inputSize: [8, 8], classes: 5, learnSigma: true, convention: 'sit' },
  )
  const weights = model.arena.array('weights')
  weights.write(Float32Array.from({ length: weights.elements }, (_, i) => Math.sin(i * i) / 5))
  using start = noise(0)
  const labels = new Int32Array([1, 4])
  using ids = Tensor.from(labels, [2], 'cpu')
  for (const [path, repa] of [
    ['Linear', 'linear'],
    ['GVP', 'cosine'],
  ] as const) {
    // REPA's Heun ends with a step of Euler: the state before it is compared.
    const ours: Promise<Float32Array>[] = []
    using _ours = await sampleFlow(model, start, labels, {
      mode: 'ode',
      solver: 'heun',
      steps: 4,
      path: repa,
      observe: (input, t) => {
        if (t === 0.25) ours.push(input.data())
      },
    })
    const theirs: Promise<Float64Array>[] = []
    using _theirs = await sampleTransportOde(
      transport(path, 'velocity'),
      (x, t) => model.forward(x, Tensor.full([2], t, 'cpu'), ids).prediction,
      start,
      {
        method: 'heun2',
        points: 5,
        observe: (state, point) => {
          if (point === 3) theirs.push(state.dataAs('f64'))
        },
      },
    )
    expect(ours).toHaveLength(2)

    // The same steps of dopri5, but for the rounding of 1 − (1 − t), which may move a time that the model is told by half an ulp.
    using solved = await sampleFlow(model, start, labels, { mode: 'ode', solver: 'dopri5', steps: 1, path: repa })
    using solvedByTheirs = await sampleTransportOde(
      transport(path, 'velocity'),
      (x, t) => model.forward(x, Tensor.full([2], t, 'cpu'), ids).prediction,
      start,
      { points: 2 },
    )
    expectRounded('dopri5', await ndArray(solved), await ndArray(solvedByTheirs), { roundings: 16, scale: 8 })
    expect(await ours[1]).toEqual(Float32Array.from(await theirs[0]!))

    using x1 = randomNormal(SHAPE, { seed: 3, stream: 'posterior', step: 0 }, 'cpu')
    const t = [0.25, 0.625]
    using times = Tensor.from(Float32Array.from(t), [2], 'cpu')
    const plan = transportPlan(transport(path, 'velocity'), { x0: start, x1, t })
    using objective = new SiTObjective({ path: repa, convention: 'sit' })
    using reversed = Tensor.from(
      Float32Array.from(t, (time) => 1 - time),
      [2],
      'cpu',
    )
    const noised = objective.noised({ latents: x1, noise: start, t: reversed })
    expect(await noised.t.data()).toEqual(await times.data())
    using prediction = noise(1)
    using loss = noised.losses(prediction).denoising
    using expected = transportLoss(transport(path, 'velocity'), prediction, { x0: start, ut: plan.ut, t })
    // Of either: two coefficients, two products and a sum, of noise up to 5; then a difference and its square, whose sum is in double.
    const [ourInput, theirInput] = [await ndArray(noised.input), await ndArray(plan.xt)]
    expectRounded('x_t', ourInput, theirInput, { roundings: 2 * 3, scale: 2 * 5 })
    const [ourLoss, theirLoss] = [await ndArray(loss), await ndArray(expected)]
    expectRounded('loss', ourLoss, theirLoss, { roundings: 2 * 8, scale: largestOf(theirLoss) })
    for (const tensor of [plan.xt, plan.ut, noised.input, noised.t]) tensor.dispose()
  }
})

test.each([
  ['score', undefined],
  ['score', 'likelihood'],
  ['noise', 'velocity'],
] as const)('the loss of a %s weighted by %s has the gradient of its mean', async (prediction, weight) => {
  const of = transport('VP', prediction)
  const t = [0.3, 0.8]
  const shape = [2, 1, 3]
  const [x0, x1, p] = [0, 1, 2].map((step) => randomNormal(shape, { seed: 7, stream: 'noise', step }, 'cpu')) as [
    Tensor,
    Tensor,
    Tensor,
  ]
  const { xt, ut } = transportPlan(of, { x0, x1, t })
  using tape = new Tape()
  tape.watch(p)
  using loss = tape.record(() => transportLoss(of, p, { x0, ut, t }, weight))
  const gradients = tape.backward()
  const gradient = await gradients.get(p)!.data()
  const [values, truth] = [await p.data(), await x0.data()]
  const exact = t.map((time) => {
    const point = pathPoint('VP', time)
    const w = {
      velocity: (pathDiffusion(point, 'VP') / point.sigma) ** 2,
      likelihood: pathDiffusion(point, 'VP') / point.sigma ** 2,
    }
    return { factor: weight === undefined ? 1 : w[weight], sigma: point.sigma }
  })
  const losses = [0, 0]
  values.forEach((value, i) => {
    const { factor, sigma } = exact[Math.floor(i / 3)]!
    const [scale, error] = prediction === 'score' ? [sigma, sigma * value + truth[i]!] : [1, value - truth[i]!]
    losses[Math.floor(i / 3)]! += (factor * error ** 2) / 3
    expect(gradient[i]! / ((factor * 2 * error * scale) / 6)).toBeCloseTo(1, 5)
  })
  ;(await loss.data()).forEach((value, b) => {
    expect(value / losses[b]!).toBeCloseTo(1, 5)
  })
  gradients.dispose()
  for (const tensor of [x0, x1, p, xt, ut]) tensor.dispose()
})
