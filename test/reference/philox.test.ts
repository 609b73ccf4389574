import { describe, expect, test } from 'vitest'
import { normalPair, philox, uniform, type Words2, type Words4 } from './philox.ts'

// The known answers that Random123 publishes for philox4x32-10 (kat_vectors).
const knownAnswers: { counter: Words4; key: Words2; words: Words4 }[] = [
  {
    counter: [0, 0, 0, 0],
    key: [0, 0],
    words: [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8],
  },
  {
    counter: [0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff],
    key: [0xffffffff, 0xffffffff],
    words: [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd],
  },
  {
    counter: [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344],
    key: [0xa4093822, 0x299f31d0],
    words: [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1],
  },
]

test.each(knownAnswers)('philox of $counter under $key', ({ counter, key, words }) => {
  expect(philox(counter, key)).toEqual(words)
})

test.each([
  [0, 0],
  [0xff, 0],
  [0x100, 2 ** -24],
  [0xffffffff, 1 - 2 ** -24],
])('uniform of the word %i', (word, expected) => {
  expect(uniform(word)).toBe(expected)
  expect(Math.fround(uniform(word))).toBe(uniform(word))
})

describe('normals', () => {
  test('are finite at both ends of the radius', () => {
    const [far] = normalPair(0, 0)
    expect(far).toBeCloseTo(Math.sqrt(48 * Math.LN2), 12)
    expect(normalPair(0xffffffff, 0)[0]).toBeCloseTo(0, 15)
  })

  test('have the moments of N(0, 1)', () => {
    const count = 40_000
    const draws: number[] = []
    for (let i = 0; i < count / 4; i++) {
      const [a, b, c, d] = philox([i, 0, 0, 0], [42, 0])
      draws.push(...normalPair(a, b), ...normalPair(c, d))
    }
    // The k-th sample moment has the variance (E x^2k - (E x^k)^2) / count; four standard deviations either way.
    const moments = [
      { power: 1, mean: 0, variance: 1 },
      { power: 2, mean: 1, variance: 2 },
      { power: 3, mean: 0, variance: 15 },
      { power: 4, mean: 3, variance: 96 },
    ]
    for (const { power, mean, variance } of moments) {
      const moment = draws.reduce((a, x) => a + x ** power, 0) / count
      expect(Math.abs(moment - mean)).toBeLessThan(4 * Math.sqrt(variance / count))
    }
  })
})
