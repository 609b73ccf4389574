/** What a program without types may ask the original SiT's library or DiT's diffusion for: refused in a sentence, for another's numbers come of it. */
import { describe, expect, test } from 'vitest'
import { ConfigurationError } from '../../src/configuration/parse.ts'
import { gaussianDiffusion } from '../../src/diffusion/gaussian-diffusion.ts'
import { transportLoss, transportPlan } from '../../src/diffusion/transport/loss.ts'
import { sampleTransportOde } from '../../src/diffusion/transport/ode.ts'
import { sampleTransportSde } from '../../src/diffusion/transport/sde.ts'
import { transport } from '../../src/diffusion/transport/transport.ts'
import { memoryStats } from '../../src/tensor/device.ts'
import { Tensor } from '../../src/tensor/tensor.ts'

type Options = Record<string, unknown>
type Wrong = readonly [wrong: Options, sentence: string]

const LINEAR = transport('Linear', 'velocity')
const tensor = () => Tensor.zeros([1, 1, 2, 2], 'cpu')

async function refused(call: () => unknown, sentence: string): Promise<void> {
  const error = await Promise.resolve()
    .then(call)
    .catch((thrown: unknown) => thrown)
  expect(error).toBeInstanceOf(ConfigurationError)
  expect((error as Error).message).toBe(sentence)
}

describe('transport', () => {
  test.each<Wrong>([
    [{ path: 'linear' }, 'path is "linear": expected one of "Linear"|"GVP"|"VP"; did you mean "Linear"?'],
    [{ path: 'cosine' }, 'path is "cosine": expected one of "Linear"|"GVP"|"VP".'],
    [{ path: undefined }, 'path is missing: expected one of "Linear"|"GVP"|"VP".'],
    [{ prediction: 'v' }, 'prediction is "v": expected one of "velocity"|"score"|"noise".'],
    [{ trainEps: -0.1 }, 'trainEps is -0.1: expected number to be >=0.'],
    [{ sampleEps: 0.5 }, 'sampleEps is 0.5: expected number to be <0.5.'],
    [{ sampleEps: Number.NaN }, 'sampleEps is NaN: expected number.'],
    [{ sampleEPs: 0.1 }, 'there is no setting "sampleEPs"; did you mean "sampleEps"?'],
  ])('%j', async (wrong, sentence) => {
    const { path, prediction, ...margins } = { path: 'Linear', prediction: 'velocity', ...wrong }
    await refused(() => transport(path as never, prediction as never, margins), `the transport: ${sentence}`)
  })

  test('what is left out or undefined has its default', () => {
    expect(transport('VP', 'noise', { trainEps: undefined, sampleEps: undefined })).toEqual(transport('VP', 'noise'))
  })
})

describe('transportPlan', () => {
  test.each<Wrong>([
    [{ t: 0.3 }, 't is 0.3: expected array.'],
    [{ t: [1.5] }, 't.0 is 1.5: expected number to be <=1.'],
    [{ t: [Number.NaN] }, 't.0 is NaN: expected number.'],
    [{ x0: [0] }, 'x0 is [0]: expected a Tensor.'],
    [{ noise: 1 }, 'there is no setting "noise".'],
  ])('%j', async (wrong, sentence) => {
    using x = tensor()
    const samples = { x0: x, x1: x, t: [0.3], ...wrong }
    await refused(() => transportPlan(LINEAR, samples as never), `what transportPlan is given: ${sentence}`)
  })

  test('a transport that is none', async () => {
    using x = tensor()
    const other = { ...LINEAR, path: 'linear' } as never
    const sentence = 'the transport: path is "linear": expected one of "Linear"|"GVP"|"VP"; did you mean "Linear"?'
    await refused(() => transportPlan(other, { x0: x, x1: x, t: [0.3] }), sentence)
    await refused(() => transportLoss(other, x, { x0: x, ut: x, t: [0.3] }), sentence)
    await refused(() => sampleTransportOde(other, () => x, x), sentence)
    await refused(() => sampleTransportSde(other, () => x, x, { noise: () => x }), sentence)
  })
})

describe('transportLoss', () => {
  test.each<Wrong>([
    [{ weight: 'velo' }, 'weight is "velo": expected one of "velocity"|"likelihood"; did you mean "velocity"?'],
    [{ weight: null }, 'weight is null: expected one of "velocity"|"likelihood".'],
    [{ t: [-1] }, 'truth.t.0 is -1: expected number to be >=0.'],
    [{ ut: undefined }, 'truth.ut is missing: expected a Tensor.'],
    [{ prediction: 1 }, 'prediction is 1: expected a Tensor.'],
    [{ wieght: 'velocity' }, 'there is no setting "wieght" in truth.'],
  ])('%j', async (wrong, sentence) => {
    using x = tensor()
    const { prediction, weight, ...truth } = { prediction: x, weight: undefined, x0: x, ut: x, t: [0.3], ...wrong }
    for (const of of [LINEAR, transport('VP', 'noise')]) {
      const loss = () => transportLoss(of, prediction as never, truth as never, weight as never)
      await refused(loss, `what transportLoss is given: ${sentence}`)
    }
  })
})

const COMMON: readonly Wrong[] = [
  [{ method: 'midpoint' }, 'method is "midpoint": expected one of '],
  [{ signal: {} }, 'signal is {}: expected an AbortSignal.'],
  [{ observe: 1 }, 'observe is 1: expected a function.'],
]

describe('sampleTransportOde', () => {
  test.each<Wrong>([
    [{ method: 'Euler' }, 'method is "Euler": expected one of "euler"|"heun2"|"dopri5"; did you mean "euler"?'],
    [{ method: 'heun' }, 'method is "heun": expected one of "euler"|"heun2"|"dopri5"; did you mean "heun2"?'],
    [{ points: 2.5 }, 'points is 2.5: expected int.'],
    [{ points: 1 }, 'points is 1: expected 2 at least, the ends.'],
    [{ points: Number.NaN }, 'points is NaN: expected number.'],
    [{ steps: 4 }, 'there is no setting "steps".'],
    [{ atol: 0 }, 'atol is 0: expected number to be >0.'],
    [{ rtol: -1 }, 'rtol is -1: expected number to be >0.'],
    ...COMMON.map(([wrong, sentence]): Wrong => [wrong, sentence.replace(/of $/, 'of "euler"|"heun2"|"dopri5".')]),
  ])('%j', async (wrong, sentence) => {
    using x = tensor()
    await refused(() => sampleTransportOde(LINEAR, () => x, x, wrong), `the sampler's options: ${sentence}`)
  })
})

describe('sampleTransportSde', () => {
  test.each<Wrong>([
    [{ method: 'euler' }, 'method is "euler": expected one of "Euler"|"Heun"; did you mean "Euler"?'],
    [{ lastStep: 'mean' }, 'lastStep is "mean": expected one of "Mean"|"Tweedie"|"Euler"; did you mean "Mean"?'],
    [{ lastStep: 'none' }, 'lastStep is "none": expected one of "Mean"|"Tweedie"|"Euler".'],
    [{ lastStepSize: 2 }, 'lastStepSize is 2: expected number to be <1.'],
    [{ lastStepSize: -0.1 }, 'lastStepSize is -0.1: expected number to be >=0.'],
    [
      { form: 'sbdm' },
      'form is "sbdm": expected one of "constant"|"SBDM"|"sigma"|"linear"|"decreasing"|"increasing-decreasing"; did you mean "SBDM"?',
    ],
    [{ norm: -1 }, 'norm is -1: expected number to be >=0.'],
    [{ steps: 2.5 }, 'steps is 2.5: expected int.'],
    [{ steps: 1 }, 'steps is 1: expected 2 at least, the ends.'],
    [{ noise: undefined }, 'noise is missing: expected a function.'],
    [{ points: 4 }, 'there is no setting "points".'],
    ...COMMON.map(([wrong, sentence]): Wrong => [wrong, sentence.replace(/of $/, 'of "Euler"|"Heun".')]),
  ])('%j', async (wrong, sentence) => {
    using x = tensor()
    const options = { noise: () => x, steps: 3, ...wrong }
    await refused(() => sampleTransportSde(LINEAR, () => x, x, options as never), `the sampler's options: ${sentence}`)
  })

  test('a last step that is the whole way', async () => {
    using x = tensor()
    const options = { noise: () => x, lastStepSize: 0.9999 }
    await expect(sampleTransportSde(transport('Linear', 'noise'), () => x, x, options)).rejects.toThrow(
      new RangeError('A last step of 0.9999 leaves no time before it, from t = 0.001 on; take a smaller lastStepSize.'),
    )
  })
})

describe('gaussianDiffusion', () => {
  test.each<Wrong>([
    [{ schedule: 'x' }, 'schedule is "x": expected one of "linear"|"squaredcos_cap_v2".'],
    [{ schedule: 'cosine' }, 'schedule is "cosine": expected one of "linear"|"squaredcos_cap_v2".'],
    [{ steps: 0 }, 'steps is 0: expected number to be >0.'],
    [{ steps: -1 }, 'steps is -1: expected number to be >0.'],
    [{ steps: 2.5 }, 'steps is 2.5: expected int.'],
    [{ steps: 19 }, 'steps is 19: expected 20 at least of the linear schedule, whose last β is 20 / steps.'],
    [{ respacing: 250 }, 'respacing is 250: expected string.'],
    [{ respaceing: '10' }, 'there is no setting "respaceing"; did you mean "respacing"?'],
  ])('%j', async (wrong, sentence) => {
    await refused(() => gaussianDiffusion(wrong), `the diffusion's options: ${sentence}`)
  })

  test('what is left out or undefined has its default', () => {
    expect(gaussianDiffusion({ schedule: undefined, steps: undefined, respacing: undefined })).toEqual(
      gaussianDiffusion(),
    )
  })
})

test('a plan and its loss leave nothing but what they give', () => {
  const x = Tensor.full([2, 1, 2, 2], 0.5, 'cpu')
  const before = memoryStats('cpu').liveBytes
  const score = transport('Linear', 'score')
  const { xt, ut } = transportPlan(score, { x0: x, x1: x, t: [0.3, 0.6] })
  const loss = transportLoss(score, x, { x0: x, ut, t: [0.3, 0.6] }, 'velocity')
  for (const given of [xt, ut, loss]) given.dispose()
  expect(memoryStats('cpu').liveBytes).toBe(before)
  x.dispose()
})
