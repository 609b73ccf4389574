import { expect, test } from 'vitest'
import { mapInOrder } from '../../src/data/ordered-map.ts'

const wait = (milliseconds: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, milliseconds))

test.each([1, 2, 3, 10])('mapInOrder keeps the order and the limit of %d', async (concurrency) => {
  let running = 0
  let most = 0
  const seen: number[] = []
  const work = async (item: number): Promise<number> => {
    most = Math.max(most, ++running)
    await wait((7 * item) % 5)
    running--
    return item * item
  }
  for await (const result of mapInOrder([0, 1, 2, 3, 4, 5], concurrency, work)) seen.push(result)
  expect(seen).toEqual([0, 1, 4, 9, 16, 25])
  expect(most).toBe(Math.min(concurrency, 6))
})

test('mapInOrder fails at the place of the failure and waits for what runs', async () => {
  let running = 0
  const seen: number[] = []
  const work = async (item: number): Promise<number> => {
    running++
    await wait(item === 2 ? 0 : 5)
    running--
    if (item === 2) throw new Error('two')
    return item
  }
  const iterate = async (): Promise<void> => {
    for await (const result of mapInOrder([0, 1, 2, 3, 4, 5], 4, work)) seen.push(result)
  }
  await expect(iterate()).rejects.toThrow('two')
  expect(seen).toEqual([0, 1])
  expect(running).toBe(0)
})
