import { describe, expect, test } from 'vitest'
import { isGuidedAt } from '../../src/diffusion/guidance.ts'
import { linspace } from '../../src/diffusion/linspace.ts'
import { odeTimes, sampleFlow, sdeTimes } from '../../src/diffusion/samplers.ts'
import { SiT } from '../../src/models/sit.ts'
import { Tensor } from '../../src/tensor/tensor.ts'

/**
 * Single values of torch.linspace(from, to, count, dtype=float64), PyTorch 2.13 on a CPU with AVX2; the middle of 51, which is counted from
 * the far end, by its kernel's formula (ATen/native/cpu/RangeFactoriesKernel.cpp) in exact fractions, rounded once.
 */
const VALUES = [
  { from: 1, to: 0, count: 51, index: 45, value: 0.1 },
  { from: 1, to: 0, count: 51, index: 29, value: 0.42 },
  { from: 1, to: 0, count: 101, index: 65, value: 0.35000000000000003 },
  { from: 1, to: 0.04, count: 250, index: 83, value: 0.68 },
  { from: 1, to: 0.04, count: 250, index: 166, value: 0.36 },
  { from: 1, to: 0.04, count: 250, index: 249, value: 0.04 },
  { from: 1, to: 0.04, count: 51, index: 25, value: 0.5199999999999999 },
  { from: 1, to: 0.04, count: 1, index: 0, value: 1 },
  { from: 0, to: 1, count: 7, index: 4, value: 0.6666666666666667 },
] as const

test.each(VALUES)('number $index of $count from $from to $to', ({ from, to, count, index, value }) => {
  const numbers = linspace(from, to, count)
  expect(numbers).toHaveLength(count)
  expect(numbers[index]).toBe(value)
})

/** How many of the reference's steps are guided: low <= t <= high on torch's times. */
const GUIDED = [
  { mode: 'ode', steps: 50, low: 0, high: 0.3, guided: 15 },
  { mode: 'ode', steps: 50, low: 0.1, high: 1, guided: 46 },
  { mode: 'ode', steps: 20, low: 0.05, high: 0.55, guided: 11 },
  { mode: 'ode', steps: 100, low: 0, high: 0.35, guided: 34 },
  { mode: 'ode', steps: 250, low: 0.2, high: 0.82, guided: 156 },
  { mode: 'sde', steps: 250, low: 0, high: 0.7, guided: 172 },
  { mode: 'sde', steps: 250, low: 0, high: 0.36, guided: 84 },
  { mode: 'sde', steps: 25, low: 0.28, high: 0.6, guided: 9 },
  { mode: 'sde', steps: 50, low: 0, high: 0.04, guided: 1 },
  { mode: 'sde', steps: 1, low: 0, high: 1, guided: 1 },
] as const

describe('an interval whose ends are times of the sampler is guided in as many steps as in the reference', () => {
  test.each(GUIDED)('$mode, $steps steps, $low to $high', ({ mode, steps, low, high, guided }) => {
    const times = mode === 'ode' ? odeTimes(steps) : sdeTimes(steps)
    expect(times).toHaveLength(steps + 1)
    expect(times.at(-1)).toBe(0)
    expect(times.slice(0, -1).filter((t) => isGuidedAt({ scale: 1.5, low, high }, t))).toHaveLength(guided)
  })
})

describe('a time shift', () => {
  test.each([
    // By hand: 3 t / (1 + 2 t).
    [3, [1, 0.9, 0.75, 0.5, 0]],
    [1, [1, 0.75, 0.5, 0.25, 0]],
    [1 / 3, [1, 0.5, 0.25, 0.1, 0]],
  ])('of %d moves the times between the ends', (shift, expected) => {
    const times = odeTimes(4, shift)
    for (const [i, t] of times.entries()) expect(Math.abs(t - expected[i]!)).toBeLessThanOrEqual(2 ** -52)
    expect([times[0], times.at(-1)]).toEqual([1, 0])
  })

  // Its timestep_shift, of a time that runs from noise at 0 to data at 1.
  test("of 1 / 0.3 is LightningDiT's of 0.3", () => {
    const steps = 50
    const theirs = Array.from({ length: steps + 1 }, (_, i) => (0.3 * (i / steps)) / (1 - 0.7 * (i / steps)))
    for (const [i, t] of odeTimes(steps, 1 / 0.3).entries()) expect(Math.abs(1 - t - theirs[i]!)).toBeLessThan(2 ** -51)
  })

  test.each(['euler', 'heun'] as const)('is where the model is evaluated: %s', async (solver) => {
    using model = SiT.create(
      { depth: 1, hidden: 16, heads: 1, patch: 2 },
      { channels: 3, inputSize: [4, 4], classes: 3 },
    )
    using noise = Tensor.full([1, 3, 4, 4], 1, 'cpu')
    const seen = new Set<number>()
    const observe = (_: Tensor, t: number) => void seen.add(t)
    using _ = await sampleFlow(model, noise, Int32Array.of(0), { mode: 'ode', solver, steps: 4, timeShift: 3, observe })
    expect([...seen]).toEqual(odeTimes(4, 3).filter((t) => t > 0))
  })
})
