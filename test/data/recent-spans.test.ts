import { expect, test } from 'vitest'
import { RecentSpans } from '../../src/data/recent-spans.ts'

test('of the spans of all files two are kept, the last ones', async () => {
  const recent = new RecentSpans()
  const spans = ['a', 'b', 'c'].map((name) => ({ name }))
  const read: string[] = []
  for (const place of [0, 0, 1, 0, 1, 2, 1, 2, 0]) {
    const { name } = spans[place]!
    const images = recent.images(spans[place]!, async () => {
      read.push(name)
      return [Buffer.from(name)]
    })
    expect(await images).toEqual([Buffer.from(name)])
  }
  expect(read).toEqual(['a', 'b', 'c', 'a'])
})

test('a span that cannot be read fails for whoever asks', async () => {
  const recent = new RecentSpans()
  const images = recent.images({}, async () => {
    throw new Error('torn')
  })
  await expect(images).rejects.toThrow('torn')
})
