/** What a program without types may ask a sampler for: refused in a sentence, for nothing but the images would show it. */
import { describe, expect, test } from 'vitest'
import { sampleDiffusion } from '../../src/diffusion/ddpm-sampler.ts'
import { sampleImages } from '../../src/diffusion/sample-images.ts'
import { sampleFlow } from '../../src/diffusion/samplers.ts'
import type { AnyTransformer } from '../../src/models/transformer-kinds.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { modelOf } from '../training/tiny-trainer.ts'

const GUIDANCE = { scale: 2, low: 0, high: 1 }
const SIT = { mode: 'ode', steps: 2, labels: Int32Array.of(1, 2), seed: 0, batch: 2, guidance: GUIDANCE }
const DIT = { ...SIT, mode: 'ddpm' }

async function imagesOf(model: AnyTransformer, options: Record<string, unknown>): Promise<number> {
  let images = 0
  for await (const { count } of sampleImages(model, options as never)) {
    images += count
    // One that does not get on would fill the memory.
    if (images > 2 || count === 0) throw new Error('There is no end to the images.')
  }
  return images
}

type Wrong = readonly [wrong: Record<string, unknown>, message: string]

describe('a SiT', () => {
  test.each<Wrong>([
    [{ mode: undefined }, 'mode is missing: expected one of "ode"|"sde"'],
    [{ mode: 'sd' }, 'mode is "sd": expected one of "ode"|"sde"; did you mean "sde"?'],
    [{ mode: 'ddpm' }, 'A SiT is sampled in the modes ode and sde, not in ddpm.'],
    [{ solver: 'rk4' }, 'solver is "rk4": expected one of "euler"|"heun"|"dopri5"'],
    [{ timeShift: 0 }, 'timeShift is 0: expected number to be >0'],
    [{ timeShift: Number.NaN }, 'timeShift is NaN: expected number'],
    [
      { timeShift: 3, mode: 'sde' },
      'timeShift is 3: shifts the steps of euler and heun; the SDE has times of its own, and dopri5 chooses them.',
    ],
    [
      { timeShift: 3, solver: 'dopri5' },
      'timeShift is 3: shifts the steps of euler and heun; the SDE has times of its own, and dopri5 chooses them.',
    ],
    [
      { mode: 'sde', solver: 'dopri5' },
      'solver is "dopri5": is of the ODE; steps of the SDE are of Euler and Maruyama.',
    ],
    [
      { guidance: { ...GUIDANCE, low: 1, high: 0.5 } },
      'guidance.low is 1: is above high, so that guidance would never be active; a scale of 1 turns it off.',
    ],
    [{ path: 'cosin' }, 'path is "cosin": expected one of "linear"|"cosine"; did you mean "cosine"?'],
    [{ steps: undefined }, 'steps is missing: expected number'],
    [{ steps: Number.NaN }, 'steps is NaN: expected number'],
    [{ steps: '2' }, 'steps is "2": expected number'],
    [{ steps: 1.5 }, 'steps is 1.5: expected int'],
    [{ steps: 0 }, 'steps is 0: expected number to be >0'],
    [{ guidance: 4 }, 'guidance is 4: expected object'],
    [{ guidance: { scale: 4 } }, 'guidance.low is missing: expected number; guidance.high is missing: expected number'],
    [{ guidance: { ...GUIDANCE, scale: Number.NaN } }, 'guidance.scale is NaN: expected number'],
    [{ guidance: { ...GUIDANCE, scale: 0 } }, 'guidance.scale is 0: expected 1, which is no guidance, or more'],
    [{ guidance: { ...GUIDANCE, scale: 0.5 } }, 'guidance.scale is 0.5: expected 1, which is no guidance, or more'],
    [
      { guidance: { ...GUIDANCE, guidePath: 'cosin' } },
      'guidance.guidePath is "cosin": expected one of "linear"|"cosine"',
    ],
    [{ guidance: { ...GUIDANCE, latentStatistics: 'a' } }, 'guidance.latentStatistics is "a": expected object'],
    [{ guidance: { ...GUIDANCE, nullLabel: 11 } }, 'Guidance of scale 2 needs a null class, and there is no 11.'],
    [{ cfgScale: 4 }, 'there is no setting "cfgScale"'],
    [
      { noise: () => {} },
      "noise is a function: is drawn for each image from the seed; `sampleFlow` and `sampleDiffusion` take one's own.",
    ],
    [{ classToken: {} }, 'classToken is {}: is drawn for each image from the seed'],
    [{ onStep: () => {} }, 'onStep is a function: is of one batch, and `onProgress` of all'],
    [{ observe: () => {} }, 'observe is a function: sees one batch'],
    [{ labels: [1, 2] }, 'labels is [1,2]: expected Int32Array'],
    [{ labels: Float32Array.of(1, 2) }, 'labels is a value of class Float32Array: expected Int32Array'],
    [{ labels: Int32Array.of(1, 11) }, 'There is no class 11: the model has the classes 0 to 9, and 10 for none.'],
    [{ labels: Int32Array.of(-1, 1) }, 'There is no class -1'],
    [{ batch: undefined }, 'batch is missing: expected number'],
    [{ batch: 0 }, 'batch is 0: expected number to be >0'],
    [{ seed: undefined }, 'seed is missing: expected number'],
    [{ seed: 0.5 }, 'seed is 0.5: expected int'],
    [{ seed: -1 }, 'seed is -1: expected number to be >=0'],
    [{ firstImage: 1.5 }, 'firstImage is 1.5: expected int'],
    [{ onProgress: 1 }, 'onProgress is 1: expected a function'],
    [{ signal: {} }, 'signal is {}: expected an AbortSignal'],
  ])('%j', async (wrong, message) => {
    using model = modelOf()
    await expect(imagesOf(model, { ...SIT, ...wrong })).rejects.toThrow(message)
  })

  test('what is left out or undefined has its default', async () => {
    using model = modelOf()
    expect(await imagesOf(model, { ...SIT, solver: undefined, guidance: undefined, signal: undefined })).toBe(2)
  })
})

describe('a DiT', () => {
  test.each<Wrong>([
    [{ mode: 'ode' }, 'A DiT is sampled in the modes ddpm and ddim, not in ode.'],
    [{ mode: undefined }, 'A DiT is sampled in the modes ddpm and ddim, not in undefined.'],
    [{ steps: Number.NaN }, '"NaN" is no respacing'],
    [{ guidance: { ...GUIDANCE, scale: 0.5 } }, 'guidance.scale is 0.5: expected 1, which is no guidance, or more'],
    [{ eta: '1' }, 'eta is "1": expected number'],
    [{ eta: 2 }, 'eta is 2: expected number to be <=1'],
    [{ eta: 0.5 }, "eta is 0.5: is of DDIM, and DDPM's noise is all of it."],
    [{ clip: 'no' }, 'clip is "no": expected boolean'],
    [{ solver: 'heun' }, 'there is no setting "solver"'],
    [{ timeShift: 3 }, 'there is no setting "timeShift"'],
    [{ labels: Int32Array.of(11, 1) }, 'There is no class 11'],
  ])('%j', async (wrong, message) => {
    using model = modelOf({ kind: 'DiT' })
    await expect(imagesOf(model, { ...DIT, ...wrong })).rejects.toThrow(message)
  })

  test('what is left out or undefined has its default', async () => {
    using model = modelOf({ kind: 'DiT' })
    expect(await imagesOf(model, { ...DIT, eta: undefined, guidance: undefined })).toBe(2)
  })
})

test('a sampler of the other kind, and labels that are no Int32Array', async () => {
  using sit = modelOf()
  using dit = modelOf({ kind: 'DiT' })
  using noise = Tensor.from(new Float32Array(2 * 4 * 64), [2, 4, 8, 8], 'cpu')
  const labels = Int32Array.of(1, 2)
  await expect(sampleDiffusion(sit as never, noise, labels, { mode: 'ddim', steps: 2 })).rejects.toThrow(
    'sampleDiffusion samples a DiT; got a SiT, of which sampleFlow is.',
  )
  await expect(sampleFlow(dit as never, noise, labels, { mode: 'ode', steps: 2 })).rejects.toThrow(
    'sampleFlow samples a SiT; got a DiT, of which sampleDiffusion is.',
  )
  await expect(sampleFlow(sit as never, noise, [1, 2] as never, { mode: 'ode', steps: 2 })).rejects.toThrow(
    'is of a label, in an Int32Array, or of a caption',
  )
})
