import { expect, test } from 'vitest'
import { BusyProcess } from '../../src/benchmark/busy-process.ts'
import { isRunning } from './is-running.ts'

test('is there until it is disposed of', async () => {
  let pid = 0
  {
    await using busy = await BusyProcess.start()
    pid = busy.pid
    expect(isRunning(pid)).toBe(true)
  }
  expect(isRunning(pid)).toBe(false)
})
