import { describe, expect, test } from 'vitest'
import { type SustainedOptions, sustainedRate } from '../../src/benchmark/sustained.ts'

const clocksAt = (sm: number) => {
  return { driver: '1', sm, smMaximum: 1980, memory: 3201, power: 690, powerLimit: 700, temperature: 60 }
}

/** A run whose steps take what `times` says in turn, by a clock that only they move, and `between` seconds more each. */
async function run(times: readonly number[], options: Partial<SustainedOptions> = {}, between = 0) {
  let [clock, call] = [0, 0]
  const step = async () => {
    const seconds = times[call++ % times.length]!
    clock += 1000 * (seconds + between)
    return seconds
  }
  const readClocks = async () => clocksAt(clock)
  return await sustainedRate({ step, batch: 4, seconds: 60, short: 8, readClocks, now: () => clock, ...options })
}

describe('a run of so many seconds', () => {
  test('is told by intervals', async () => {
    const result = await run([0.5])
    expect(result).toMatchObject({ seconds: 60, steps: 120, imagesPerSecond: 8, shareOfShort: 1 })
    expect(result.intervals).toHaveLength(12)
    expect(result.intervals.map(({ start }) => start)).toEqual(Array.from({ length: 12 }, (_, i) => 5 * i))
    for (const { seconds, steps, imagesPerSecond } of result.intervals) {
      expect([seconds, steps, imagesPerSecond]).toEqual([5, 10, 8])
    }
  })

  test('asks for the clocks in the middle of each, once', async () => {
    const { intervals } = await run([0.5], { seconds: 10 })
    expect(intervals.map(({ clocks }) => clocks!.sm)).toEqual([2500, 7500])
  })

  test('goes on while the driver has not answered', async () => {
    let answer: ((clocks: undefined) => void) | undefined
    let steps = 0
    const result = await run([0.5], {
      seconds: 5,
      readClocks: () => new Promise((resolve) => (answer = resolve)),
      onStep: () => ++steps === 10 && answer!(undefined),
    })
    expect(result.intervals).toMatchObject([{ steps: 10, clocks: undefined }])
  })

  test('times the steps, not what lies between them', async () => {
    expect(await run([0.25], {}, 0.25)).toMatchObject({ seconds: 60, steps: 120, imagesPerSecond: 16, shareOfShort: 2 })
  })

  test('shows where the rate falls', async () => {
    const { intervals, imagesPerSecond } = await run([1, 1, 1, 1, 1, 2, 2, 2], { seconds: 11 })
    // The eighth second's step ends after the interval; the last interval takes what is less than half of one.
    expect(intervals.map(({ imagesPerSecond: rate }) => rate)).toEqual([4, 2])
    expect(imagesPerSecond).toBe(32 / 11)
  })

  test.each([
    { seconds: 3, expected: [3] },
    { seconds: 7, expected: [7] },
    { seconds: 8, expected: [5, 3] },
    { seconds: 12, expected: [5, 7] },
  ])('of $seconds s has intervals of $expected', async ({ seconds, expected }) => {
    expect((await run([1], { seconds })).intervals.map((part) => part.seconds)).toEqual(expected)
  })

  test('has an interval a step where a step is longer than one', async () => {
    const { intervals } = await run([7], { seconds: 20 })
    expect(intervals.map(({ start, steps }) => [start, steps])).toEqual([
      [0, 1],
      [7, 1],
      [14, 1],
    ])
  })

  test('reports the time after each step, and stops when asked to', async () => {
    const controller = new AbortController()
    const seen: number[] = []
    const onStep = ({ steps, seconds }: { steps: number; seconds: number }) => {
      expect(steps).toBe(seconds)
      seen.push(seconds)
      if (seconds === 3) controller.abort(new Error('enough'))
    }
    await expect(run([1], { onStep, signal: controller.signal })).rejects.toThrow('enough')
    expect(seen).toEqual([1, 2, 3])
  })
})
