import { describe, expect, test } from 'vitest'
import { interleave } from '../../src/benchmark/interleave.ts'

// A machine that runs each side in turn from a list, and notes who ran.
function machine(ours: readonly number[], baseline: readonly number[]) {
  const calls: string[] = []
  const side = (name: string, times: readonly number[]) => {
    let call = 0
    return async () => {
      calls.push(name)
      return times[call++ % times.length]
    }
  }
  return { calls, ours: side('ours', ours), baseline: side('baseline', baseline) }
}

describe('interleave', () => {
  test('alternates and changes who goes first', async () => {
    const { calls, ...sides } = machine([1], [2])
    await interleave({ ...sides, rounds: 7, warmup: 2 })
    expect(calls).toHaveLength(18)
    for (let pair = 0; pair < 9; pair++) {
      const first = pair % 2 === 0 ? 'ours' : 'baseline'
      expect(calls.slice(2 * pair, 2 * pair + 2)).toEqual([first, first === 'ours' ? 'baseline' : 'ours'])
    }
  })

  test('takes medians of what follows the warm-up', async () => {
    const sides = machine([99, 1, 2, 3, 4, 5, 6, 7], [99, 3, 4, 5, 6, 7, 8, 90])
    const result = await interleave({ ...sides, rounds: 7, warmup: 1 })
    expect(result.ours).toEqual({ seconds: [1, 2, 3, 4, 5, 6, 7], median: 4, minimum: 1, maximum: 7, spread: 0.75 })
    expect(result.baseline).toMatchObject({ median: 6, minimum: 3, maximum: 90 })
    expect(result.ratio).toBe(1.5)
    // 3, 2, 5/3, 3/2, 7/5, 4/3, 90/7
    expect(result.pairedRatio).toBeCloseTo(5 / 3, 12)
  })

  test('a drift of the machine leaves the paired ratio as it is', async () => {
    let slowness = 1
    const run = (seconds: number) => async () => {
      slowness *= 1.02
      return seconds * slowness
    }
    const { pairedRatio } = await interleave({ ours: run(1), baseline: run(2), rounds: 8 })
    // Each pair is off by the drift within it, one way and the other in turn.
    expect(Math.abs(pairedRatio / 2 - 1)).toBeLessThan(0.001)
  })

  test('reports each pair', async () => {
    const seen: unknown[] = []
    await interleave({ ...machine([1], [2]), rounds: 7, warmup: 3, onRound: (round) => seen.push(round) })
    expect(seen).toHaveLength(7)
    expect(seen[6]).toEqual({ index: 6, rounds: 7, ours: 1, baseline: 2 })
  })

  test.each([-1, 0.5])('refuses %d runs before those that count', async (warmup) => {
    await expect(interleave({ ...machine([1], [2]), rounds: 7, warmup })).rejects.toThrow(`warmup is ${warmup}`)
  })

  test.each([0, -1, Number.NaN, Number.POSITIVE_INFINITY])('refuses a run of %d seconds', async (seconds) => {
    await expect(interleave({ ...machine([1], [seconds]), rounds: 7 })).rejects.toThrow(
      `A run of baseline took ${seconds} seconds`,
    )
  })

  test('stops when asked to', async () => {
    const controller = new AbortController()
    const sides = machine([1], [2])
    const onRound = ({ index }: { index: number }) => {
      if (index === 2) controller.abort(new Error('enough'))
    }
    await expect(interleave({ ...sides, rounds: 7, warmup: 0, onRound, signal: controller.signal })).rejects.toThrow(
      'enough',
    )
    expect(sides.calls).toHaveLength(6)
  })
})
