import { describe, expect, test } from 'vitest'
import { runProgram } from '../native/run-program.ts'

const MIB = 2 ** 20

function run(part: string, env: Record<string, string> = {}): unknown {
  const { stdout, stderr } = runProgram('staging', { args: [part], env })
  expect(stdout, stderr).not.toBe('')
  return JSON.parse(stdout)
}

describe('uploads', () => {
  test('wait for earlier ones rather than take ever more memory', () => {
    // Eight slots of 8 MiB, page-locked and on the device, and the destinations; a slot for each upload would be 640 MiB.
    const { grown, first } = run('manyAtOnce') as { grown: number; first: number }
    expect(grown).toBeLessThan(300)
    expect(first).toBe(39)
  })

  test('find the room that free blocks take', () => {
    expect(run('littleRoom', { REPA_SIMT_MEMORY: String(64 * MIB) })).toEqual({
      cachedBefore: 40 * MIB,
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
      /^upload: the copy on its way: out of memory: 16 MiB asked for, 56 MiB in use, limit \d+ MiB/,
    )
    expect(after).toBe(5)
  })
})
