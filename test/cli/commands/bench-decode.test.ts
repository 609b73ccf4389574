import { expect, test } from 'vitest'
import { dispatch } from '../../../src/cli/dispatch.ts'
import { RecordingStream } from '../recording-stream.ts'

async function repa(...words: string[]) {
  const [stdout, stderr] = [new RecordingStream(), new RecordingStream()]
  const status = await dispatch(words, { stdout, stderr, env: {}, signal: new AbortController().signal })
  return { status, stdout: stdout.text, stderr: stderr.text }
}

test('one JSON object with the figures', async () => {
  const words = ['--device', 'cpu', '--size', '8', '--rounds', '2', '--json']
  const { status, stdout, stderr } = await repa('bench', 'decode', ...words)
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
  expect(JSON.parse(stdout)).toMatchObject({ size: 8, device: 'cpu' })
  expect(JSON.parse(stdout).ours.seconds.seconds).toHaveLength(2)
})

test('a table for people', async () => {
  const { status, stdout, stderr } = await repa('bench', 'decode', '--device', 'cpu', '--size', '8', '--rounds', '1')
  expect({ status, stdout }).toEqual({ status: 0, stdout: '' })
  expect(stderr).toMatch(/^ +median +best +spread +peak memory$/m)
  expect(stderr).toMatch(/^repa-native +\d/m)
})

test.each([
  [['--size', '20'], 1, 'the size is 20; expected a multiple of 8'],
  [['--baseline-layout', 'rows'], 2, '--baseline-layout: expected contiguous or channels-last'],
  [['--baseline-layout', 'contiguous'], 1, '--baseline-layout is of the baseline, and there is none'],
  [['--against', 'python', '--rounds', '3'], 1, 'at least 7'],
] as const)('refuses %j', async (words, status, message) => {
  const { status: actual, stderr } = await repa('bench', 'decode', '--device', 'cpu', ...words)
  expect(stderr).toContain(message)
  expect(actual).toBe(status)
})
