import { describe, expect, test } from 'vitest'
import { runProgram } from '../native/run-program.ts'

const MIB = 2 ** 20

function run(part: string, env: Record<string, string> = {}): unknown {
  const { stdout, stderr } = runProgram('staging', { args: [part], env, flags: ['--expose-gc'] })
  expect(stdout, stderr).not.toBe('')
  return JSON.parse(stdout)
}

describe('uploads', () => {
  test('wait for earlier ones rather than take ever more memory', () => {
    // 32 blocks of 8 MiB, page-locked and on the device, and the destinations; a block for each upload would be 1,600 MiB.
    const { grown, first } = run('manyAtOnce') as { grown: number; first: number }
    expect(grown).toBeLessThan(2 * 256 + 300)
    expect(first).toBe(99)
  })

  test('find the room that free blocks take', () => {
    expect(run('littleRoom', { REPA_SIMT_MEMORY: String(64 * MIB) })).toEqual({
      cachedBefore: 48 * MIB,
      cachedAfter: 0,
      right: true,
    })
  })

  test('say what there is no room for, and leave the device in order', () => {
    const { message, after } = run('noRoom', { REPA_SIMT_MEMORY: String(64 * MIB) }) as {
      message: string
      after: number
    }
    expect(message).toMatch(
      /^upload: the copy on its way: out of memory: 8 MiB asked for, 60 MiB in use, limit \d+ MiB/,
    )
    expect(after).toBe(5)
  })
  test('find room for what is nearly as large as the device', () => {
    expect(run('large', { REPA_SIMT_MEMORY: String(220 * MIB) })).toEqual({ right: true })
  })

  test('arrive in pieces, whatever their size', () => {
    expect(run('odd')).toEqual({ right: Array(8).fill(true) })
  })

  test('of many sizes leave the device to others', () => {
    // 256 MiB stay with uploads; what is not to be had ends the program.
    const memory = 1024 * MIB
    const { limitBytes } = run('tenSizes', { REPA_SIMT_MEMORY: String(memory) }) as { limitBytes: number }
    expect(limitBytes).toBeGreaterThan(memory / 2)
  })

  test('that are small wait for earlier ones too, and lie in order', () => {
    // 4 MiB of page-locked memory, and what is queued; 20,000 pages of it would be 78 MiB.
    const { grown, right } = run('manySmall') as { grown: number; right: boolean }
    expect(right).toBe(true)
    expect(grown).toBeLessThan(50)
  })
})

test('reads keep no more page-locked memory than is under way at once', () => {
  // 64 MiB stay, of 528 that were read.
  const { first, grown } = run('largeReads') as { first: number[]; grown: number }
  expect(first).toEqual([3, 3, 3, 3])
  expect(grown).toBeLessThan(64 + 50)
})
