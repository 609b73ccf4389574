import { describe, expect, test } from 'vitest'
import { keyedRandom } from '../../src/data/keyed-random.ts'
import { randomMasks } from '../../src/pretraining/masking.ts'

describe('randomMasks', () => {
  test.each([
    [1, 4, 0.75, 1],
    [3, 64, 0.75, 16],
    [2, 9, 0.5, 4],
    [5, 196, 0.75, 49],
  ])('%d samples of %d patches, %d of them masked: %d are seen', (batch, patches, ratio, count) => {
    const masks = randomMasks(batch, patches, ratio, keyedRandom(1))
    expect([masks.visibleCount, masks.maskedCount]).toEqual([count, patches - count])
    for (let b = 0; b < batch; b++) {
      const visible = [...masks.visible.subarray(b * count, (b + 1) * count)]
      const masked = [...masks.masked.subarray(b * (patches - count), (b + 1) * (patches - count))]
      expect([...visible, ...masked].sort((a, b) => a - b)).toEqual(Array.from({ length: patches }, (_, i) => i))
      const order = Array.from({ length: patches }, (_, place) => visible.indexOf(place))
      expect([...masks.order.subarray(b * patches, (b + 1) * patches)]).toEqual(order)
    }
  })

  test('every patch is seen as often as every other, and every pair', () => {
    const [samples, patches] = [20_000, 16]
    const { visible, visibleCount } = randomMasks(samples, patches, 0.75, keyedRandom(2))
    const times = new Float64Array(patches)
    const pairs = new Float64Array(patches * patches)
    for (let b = 0; b < samples; b++) {
      const own = visible.subarray(b * visibleCount, (b + 1) * visibleCount)
      for (const i of own) {
        times[i]!++
        for (const j of own) if (i !== j) pairs[i * patches + j]!++
      }
    }
    // Five standard deviations of a binomial count.
    const within = (count: number, chance: number) =>
      Math.abs(count - samples * chance) < 5 * Math.sqrt(samples * chance * (1 - chance))
    expect(times.every((count) => within(count, 4 / 16))).toBe(true)
    expect(pairs.every((count, i) => i % (patches + 1) === 0 || within(count, (4 * 3) / (16 * 15)))).toBe(true)
  })

  test.each([
    [4, 0.9],
    [4, 0],
  ])('of %d patches a mask of %d leaves nothing to learn from', (patches, ratio) => {
    expect(() => randomMasks(2, patches, ratio, keyedRandom(1))).toThrow('at least one of each is needed')
  })
})
