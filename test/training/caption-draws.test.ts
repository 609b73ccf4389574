import { describe, expect, test } from 'vitest'
import { type CaptionDraw, drawCaptions } from '../../src/training/caption-draws.ts'

const BATCH = 6
/** Sample i has i captions: none, one, and more. */
const CAPTIONS = Array.from({ length: BATCH }, (_, i) => Array.from({ length: i }, (_, k) => `caption ${k} of ${i}`))

const draw = (options: Partial<CaptionDraw> = {}, captions: readonly (readonly string[])[] = CAPTIONS) =>
  drawCaptions(captions, { batch: captions.length, firstSample: 0, seed: 7, step: 0, dropout: 0, ...options })

test('are one of a sample’s own, or the empty one where it has none', () => {
  for (let step = 0; step < 50; step++) {
    const drawn = draw({ step })
    expect(drawn).toHaveLength(BATCH)
    expect(drawn[0]).toBe('')
    for (const [i, caption] of drawn.slice(1).entries()) expect(CAPTIONS[i + 1]).toContain(caption)
  }
})

test.each([0, 0.3])('are the same for any number of processes, with dropout %d', (dropout) => {
  for (let step = 0; step < 20; step++) {
    const whole = draw({ step, dropout })
    for (const processes of [2, 3, 6]) {
      const own = BATCH / processes
      const parts = Array.from({ length: processes }, (_, rank) =>
        drawCaptions(CAPTIONS.slice(rank * own, (rank + 1) * own), {
          batch: BATCH,
          firstSample: rank * own,
          seed: 7,
          step,
          dropout,
        }),
      )
      expect(parts.flat()).toEqual(whole)
    }
  }
})

test('depend on the seed and the step alone', () => {
  const drawn = (seed: number) => Array.from({ length: 20 }, (_, step) => draw({ seed, step, dropout: 0.3 }))
  expect(drawn(7)).toEqual(drawn(7))
  expect(drawn(8)).not.toEqual(drawn(7))
  expect(new Set(drawn(7).map((captions) => captions.join())).size).toBeGreaterThan(10)
})

test('which caption it is does not hang on the dropout, nor the dropout on how many there are', () => {
  const dropped: boolean[] = []
  for (let step = 0; step < 20; step++) {
    const [every, kept] = [draw({ step }), draw({ step, dropout: 0.5 })]
    for (const [i, caption] of kept.entries()) expect(['', every[i]]).toContain(caption)
    const [single, several] = [['one'], ['one', 'two', 'three']].map((own) => {
      const drawn = draw({ step, dropout: 0.5 }, new Array<string[]>(BATCH).fill(own))
      return drawn.map((caption) => caption === '')
    }) as [boolean[], boolean[]]
    expect(several).toEqual(single)
    dropped.push(...single)
  }
  expect(new Set(dropped)).toEqual(new Set([true, false]))
})

describe('dropout', () => {
  test('of 1 leaves nothing, of 0 everything', () => {
    const captions = CAPTIONS.slice(1)
    for (let step = 0; step < 50; step++) {
      expect(new Set(draw({ step, dropout: 1 }, captions))).toEqual(new Set(['']))
      expect(draw({ step, dropout: 0 }, captions)).not.toContain('')
    }
  })

  test('of 0.1 takes a tenth', () => {
    const [steps, captions] = [3000, [['a'], ['b']]]
    let dropped = 0
    for (let step = 0; step < steps; step++) {
      dropped += draw({ step, dropout: 0.1 }, captions).filter((caption) => caption === '').length
    }
    const deviation = Math.sqrt(2 * steps * 0.1 * 0.9)
    expect(Math.abs(dropped - 2 * steps * 0.1)).toBeLessThan(5 * deviation)
  })
})

test.each([0, 0.5])('every caption of an image is drawn with the same probability, with dropout %d', (dropout) => {
  const [steps, own] = [4000, ['a', 'b', 'c', 'd', 'e']]
  const counts = new Map(['', ...own].map((caption) => [caption, 0]))
  for (let step = 0; step < steps; step++) {
    // The third of three samples.
    const caption = draw({ step, dropout }, [['x'], ['y'], own])[2]!
    counts.set(caption, counts.get(caption)! + 1)
  }
  const chance = (1 - dropout) / own.length
  const deviation = Math.sqrt(steps * chance * (1 - chance))
  for (const caption of own) {
    expect(Math.abs(counts.get(caption)! - steps * chance), caption).toBeLessThan(5 * deviation)
  }
})
