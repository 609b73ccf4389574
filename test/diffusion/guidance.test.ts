import { describe, expect, test, vi } from 'vitest'
import { sampleDiffusion } from '../../src/diffusion/ddpm-sampler.ts'
import type { Guidance } from '../../src/diffusion/guidance.ts'
import { sampleFlow } from '../../src/diffusion/samplers.ts'
import { DiT } from '../../src/models/dit.ts'
import { SiT } from '../../src/models/sit.ts'
import { Tensor } from '../../src/tensor/tensor.ts'

const SIZES = { depth: 1, hidden: 16, heads: 1, patch: 2 } as const

/** Two steps of a model of 3 classes. */
async function sampled(
  kind: 'SiT' | 'DiT',
  options: { classDropout: number; label: number; scale?: number; nullLabel?: number },
): Promise<Float64Array> {
  const { classDropout, label, scale = 1, nullLabel } = options
  const config = { classes: 3, classDropout, channels: 3, inputSize: [4, 4] as [number, number] }
  const guidance = { scale, low: 0, high: 1, ...(nullLabel !== undefined && { nullLabel }) }
  using noise = Tensor.full([1, 3, 4, 4], 1, 'cpu')
  const labels = Int32Array.of(label)
  if (kind === 'SiT') {
    using model = SiT.create(SIZES, config)
    using state = await sampleFlow(model, noise, labels, { mode: 'ode', steps: 2, guidance })
    return await state.dataAs('f64')
  }
  using model = DiT.create(SIZES, config)
  using state = await sampleDiffusion(model, noise, labels, { mode: 'ddim', steps: 2, guidance })
  return await state.dataAs('f64')
}

describe.each(['SiT', 'DiT'] as const)('a %s', (kind) => {
  test.each([
    { classDropout: 0.1, label: 3, what: 'the null class' },
    { classDropout: 0.1, label: 2, scale: 2, what: 'guidance' },
    { classDropout: 0, label: 2, scale: 1, what: 'no null class and no guidance' },
    { classDropout: 0, label: 2, scale: 2, nullLabel: 0, what: 'a null label of the caller' },
  ])('is sampled with $what', async ({ what: _, ...options }) => {
    expect((await sampled(kind, options)).every(Number.isFinite)).toBe(true)
  })

  test.each([
    { classDropout: 0.1, label: 4, error: 'There is no class 4: the model has the classes 0 to 2, and 3 for none.' },
    { classDropout: 0.1, label: -1, error: 'There is no class -1: the model has the classes 0 to 2, and 3 for none.' },
    { classDropout: 0, label: 3, error: 'There is no class 3: the model has the classes 0 to 2.' },
    {
      classDropout: 0,
      label: 2,
      scale: 2,
      error:
        'Guidance of scale 2 needs a null class, and there is no 3: the model was made without label dropout. Sample it with a scale of 1.',
    },
  ])('refuses: $error', async ({ error, ...options }) => {
    await expect(sampled(kind, options)).rejects.toThrow(new RangeError(error))
  })
})

/** Of which guidance changes what it says. */
function wavy(): SiT {
  const model = SiT.create(SIZES, { classes: 3, classDropout: 0.1, channels: 3, inputSize: [4, 4] })
  const weights = model.arena.array('weights')
  weights.write(Float32Array.from({ length: weights.elements }, (_, i) => Math.sin(i * i) / 5))
  return model
}

test('dopri5, which steps past the data, is guided there as at them', async () => {
  using model = wavy()
  using noise = Tensor.full([1, 3, 4, 4], 1, 'cpu')
  const solved = async (low: number) => {
    let last = 1
    const observe = (_: Tensor, t: number) => {
      last = t
    }
    const guidance: Guidance = { scale: 3, low, high: 1 }
    const options = { mode: 'ode', solver: 'dopri5', steps: 1, guidance, observe } as const
    using state = await sampleFlow(model, noise, Int32Array.of(1), options)
    return { state: await state.dataAs('f64'), last }
  }
  const { state, last } = await solved(0)
  expect(last).toBeLessThan(0)
  expect(state).toEqual((await solved(-10)).state)
})

test('dopri5 is guided where the interval is, and nowhere else', async () => {
  using model = wavy()
  using noise = Tensor.full([1, 3, 4, 4], 1, 'cpu')
  const times: number[] = []
  using forward = vi.spyOn(model, 'forward')
  const guidance: Guidance = { scale: 3, low: 0.2, high: 0.6 }
  const observe = (_: Tensor, t: number) => void times.push(t)
  const options = { mode: 'ode', solver: 'dopri5', steps: 1, guidance, observe } as const
  using _ = await sampleFlow(model, noise, Int32Array.of(1), options)
  // Guided, the model is asked for twice as many samples.
  const samples = forward.mock.calls.map(([x]) => x.shape[0])
  expect(samples).toEqual(times.map((t) => (t >= 0.2 && t <= 0.6 ? 2 : 1)))
  for (const [low, high] of [
    [0.6, 1],
    [0.2, 0.6],
    [-1, 0.2],
  ] as const) {
    expect(
      times.some((t) => t > low && t < high),
      `a time from ${low} to ${high}`,
    ).toBe(true)
  }
})
