import { describe, expect, test } from 'vitest'
import { denoise, stepCoefficients } from '../../src/diffusion/ddpm-sampler.ts'
import { gaussianDiffusion } from '../../src/diffusion/gaussian-diffusion.ts'
import { respacedSteps } from '../../src/diffusion/respacing.ts'
import { cast } from '../../src/tensor/ops/cast.ts'
import { linearCombination } from '../../src/tensor/ops/float64.ts'
import { randomNormal } from '../../src/tensor/random.ts'
import type { Tensor } from '../../src/tensor/tensor.ts'

describe('respacing', () => {
  test.each<[string, number, readonly number[]]>([
    ['4', 1000, [0, 333, 666, 999]],
    ['1', 1000, [0]],
    // One stride of an integer from 0, so the last step is not reached.
    ['ddim4', 1000, [0, 250, 500, 750]],
    ['ddim3', 10, [0, 4, 8]],
    ['2,3', 10, [0, 4, 5, 7, 9]],
    // Sections of 4, 3 and 3 steps.
    ['2,2,1', 10, [0, 3, 4, 6, 7]],
    // Python rounds a half to the even neighbour: 4.5 to 4.
    ['3', 10, [0, 4, 9]],
  ])('%s of %i steps', (respacing, total, steps) => {
    expect(respacedSteps(total, respacing)).toEqual(steps)
  })

  test('250 of 1000, as DiT is evaluated', () => {
    const steps = respacedSteps(1000, '250')
    expect([steps.length, ...steps.slice(0, 5), steps.at(-1)]).toEqual([250, 0, 4, 8, 12, 16, 999])
  })

  test.each([
    ['1001', 'Of 1000 steps of the diffusion, 1001 cannot be taken (respacing 1001).'],
    ['600,1', 'Of 500 steps of the diffusion, 600 cannot be taken (respacing 600,1).'],
    ['ddim300', 'No integer stride takes 300 of 1000 steps (respacing ddim300).'],
    ['0', 'The respacing 0 takes no step.'],
    ['many', '"many" is no respacing: expected a number of steps, several with commas between, or "ddimN".'],
  ])('%s is refused', (respacing, sentence) => {
    expect(() => respacedSteps(1000, respacing)).toThrow(new RangeError(sentence))
  })
})

test('a respaced diffusion has the ᾱ of the steps that it keeps', () => {
  const whole = gaussianDiffusion()
  const { timestepMap, alphasCumprod } = gaussianDiffusion({ respacing: '10,15' })
  expect(timestepMap).toHaveLength(25)
  timestepMap.forEach((t, i) => {
    expect(alphasCumprod[i]! / whole.alphasCumprod[t]!).toBeCloseTo(1, 12)
  })
})

test('a diffusion of one step is finite', () => {
  const { posteriorLogVarianceClipped, posteriorMeanCoef1 } = gaussianDiffusion({ respacing: '1' })
  expect(Number.isFinite(posteriorLogVarianceClipped[0])).toBe(true)
  expect(posteriorMeanCoef1[0]).toBeCloseTo(1, 12)
})

describe('a step back', () => {
  const diffusion = gaussianDiffusion({ respacing: '20' })

  test("DDIM's with η = 1 has DDPM's mean and its smaller variance", () => {
    for (const t of diffusion.betas.keys()) {
      const ddpm = stepCoefficients(diffusion, t, { mode: 'ddpm' }, true)
      const ddim = stepCoefficients(diffusion, t, { mode: 'ddim', eta: 1 }, true)
      expect(ddim.meanFromX0).toBeCloseTo(ddpm.meanFromX0, 10)
      expect(ddim.meanFromX).toBeCloseTo(ddpm.meanFromX, 10)
      if (t > 0) expect(ddim.logVariances[0]).toBeCloseTo(ddpm.logVariances[0], 10)
    }
  })

  test.each(['ddpm', 'ddim'] as const)("%s's first step back gives x_0", (mode) => {
    const { meanFromX0, meanFromX } = stepCoefficients(diffusion, 0, { mode, eta: 0.5 }, true)
    expect(meanFromX0).toBeCloseTo(1, 12)
    expect(meanFromX).toBeCloseTo(0, 12)
  })

  // A model that always knows the noise leads back to the data: x_0 is what it was from the first step on.
  test('DDIM with the true noise comes to the data', async () => {
    const shape = [2, 3, 4, 4]
    using x0 = randomNormal(shape, { seed: 1, stream: 'noise', step: 0 }, 'cpu')
    using start = randomNormal(shape, { seed: 1, stream: 'noise', step: 1 }, 'cpu')
    const times: number[] = []
    const truth = (x: Tensor, t: number): Tensor => {
      times.push(t)
      const bar = gaussianDiffusion().alphasCumprod[t]!
      const noise = linearCombination([
        [1 / Math.sqrt(1 - bar), x],
        [-Math.sqrt(bar / (1 - bar)), x0],
      ])
      return cast(noise, 'f32')
    }
    using last = await denoise(diffusion, truth, start, { mode: 'ddim' })
    const [values, expected] = [await last.dataAs('f64'), await x0.data()]
    // Every step's x_0 is off by what float32 rounds of the state and of the noise, below 8 each, over √ᾱ; and each moves the state
    // towards it, the last step, at √ᾱ of nearly 1, all the way.
    values.forEach((value, i) => {
      expect(Math.abs(value - expected[i]!)).toBeLessThan(2 * 8 * 2 ** -24)
    })
    expect(times).toEqual([...respacedSteps(1000, '20')].reverse())
  })
})
