import { setTimeout as wait } from 'node:timers/promises'
import { describe, expect, test } from 'vitest'
import { oneAhead } from '../../src/data/one-ahead.ts'

/** `oneAhead` of the numbers below `count`, and what happens meanwhile. To read one takes less time than to run one. */
function recorded({ count = 3, unreadable = -1, failing = -1 }) {
  const events: string[] = []
  async function* read(): AsyncGenerator<number> {
    try {
      for (let item = 0; item < count; item++) {
        events.push(`read ${item}`)
        await wait(5)
        if (item === unreadable) throw new Error(`cannot read ${item}`)
        yield item
      }
    } finally {
      events.push('close')
    }
  }
  const start = async (item: number): Promise<number> => {
    events.push(`start ${item}`)
    await wait(item === failing ? 1 : 20)
    events.push(`end ${item}`)
    if (item === failing) throw new Error(`cannot run ${item}`)
    return 10 * item
  }
  const take = async (last = Number.POSITIVE_INFINITY): Promise<void> => {
    for await (const result of oneAhead(read(), start)) {
      events.push(`take ${result}`)
      if (result >= last) return
    }
  }
  return { events, take }
}

describe('oneAhead', () => {
  test.each([
    { count: 0, expected: ['close'] },
    { count: 1, expected: ['read 0', 'start 0', 'close', 'end 0', 'take 0'] },
    {
      count: 3,
      expected: [
        ...['read 0', 'start 0', 'read 1', 'end 0'],
        ...['start 1', 'take 0', 'read 2', 'end 1'],
        ...['start 2', 'take 10', 'close', 'end 2', 'take 20'],
      ],
    },
  ])('keeps the order of $count, and reads one while another runs', async ({ count, expected }) => {
    const { events, take } = recorded({ count })
    await take()
    expect(events).toEqual(expected)
  })

  test.each([
    {
      what: 'an item that cannot be read',
      broken: { unreadable: 1 },
      message: 'cannot read 1',
      expected: ['read 0', 'start 0', 'read 1', 'close', 'end 0'],
    },
    {
      what: 'one that fails while the next is read',
      broken: { failing: 0 },
      message: 'cannot run 0',
      expected: ['read 0', 'start 0', 'read 1', 'end 0', 'close'],
    },
  ])('fails on $what, and leaves nothing running or open', async ({ broken, message, expected }) => {
    const { events, take } = recorded(broken)
    await expect(take()).rejects.toThrow(message)
    expect(events).toEqual(expected)
  })

  test('left early, waits for what runs', async () => {
    const { events, take } = recorded({})
    await take(0)
    expect(events).toEqual(['read 0', 'start 0', 'read 1', 'end 0', 'start 1', 'take 0', 'close', 'end 1'])
  })
})
