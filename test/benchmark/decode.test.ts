import { join } from 'node:path'
import { expect, test } from 'vitest'
import { benchmarkDecode } from '../../src/benchmark/decode.ts'

const worker = (mode: string) => [process.execPath, join(import.meta.dirname, 'fake-worker.mjs'), mode] as const

test('times our own decodes', async () => {
  const seen: number[] = []
  const result = await benchmarkDecode({ size: 16, rounds: 2, onRound: ({ index }) => seen.push(index) })
  expect(seen).toEqual([0, 1])
  expect(result).toMatchObject({ size: 16, parameters: 49_490_199 })
  expect(result.ours.seconds.seconds).toHaveLength(2)
  expect(result.ours.peakDeviceBytes).toBeGreaterThan(4 * result.parameters)
  expect(result.ratio).toBeUndefined()
})

test('takes turns with a baseline', async () => {
  const result = await benchmarkDecode({ size: 8, against: 'python', command: worker('works') })
  const { ours, baseline } = result
  expect(baseline!.seconds.seconds).toHaveLength(7)
  expect(result.ratio).toBe(baseline!.seconds.median / ours.seconds.median)
  expect(result.memoryRatio).toBe(baseline!.peakRssBytes / ours.peakRssBytes)
})

test.each([
  [{ size: 20 }, 'the size is 20; expected a multiple of 8'],
  [{ size: 8, against: 'python', command: worker('refuses') }, 'The Python baseline: the BLAS is unfit; do this.'],
  [{ size: 8, signal: AbortSignal.abort(new Error('stopped')) }, 'stopped'],
] as const)('refuses %o', async (options, message) => {
  await expect(benchmarkDecode(options)).rejects.toThrow(message)
})
