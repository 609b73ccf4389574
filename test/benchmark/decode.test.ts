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
  expect(baseline!.seconds.seconds).toEqual(Array(7).fill(0.25))
  // A second decode of each: the first touches the memory.
  expect(baseline).toMatchObject({ layout: 'channels-last', tried: { contiguous: 2, 'channels-last': 0.5 } })
  expect(result.ratio).toBe(baseline!.seconds.median / ours.seconds.median)
  expect(result.memoryRatio).toBe(baseline!.peakRssBytes / ours.peakRssBytes)
})

test('leaves the baseline in the layout that is asked for', async () => {
  const { baseline } = await benchmarkDecode({
    size: 8,
    against: 'python',
    layout: 'contiguous',
    command: worker('works'),
  })
  expect(baseline!.seconds.seconds).toEqual(Array(7).fill(1))
  expect(baseline).toMatchObject({ layout: 'contiguous' })
  expect(baseline).not.toHaveProperty('tried')
})

test.each([
  [{ size: 20 }, 'the size is 20; expected a multiple of 8'],
  [{ size: 8, against: 'python', command: worker('refuses') }, 'The Python baseline: the BLAS is unfit; do this.'],
  [{ size: 8, layout: 'rows', against: 'python' } as never, 'layout'],
  [{ size: 8, layout: 'contiguous' }, 'layout is of the baseline, and there is none'],
  [{ size: 8, signal: AbortSignal.abort(new Error('stopped')) }, 'stopped'],
] as const)('refuses %o', async (options, message) => {
  await expect(benchmarkDecode(options)).rejects.toThrow(message)
})
