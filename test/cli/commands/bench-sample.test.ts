import { expect, test } from 'vitest'
import { dispatch } from '../../../src/cli/dispatch.ts'
import { RecordingStream } from '../recording-stream.ts'

async function repa(...words: string[]) {
  const [stdout, stderr] = [new RecordingStream(), new RecordingStream()]
  const status = await dispatch(['bench', 'sample', ...words], {
    stdout,
    stderr,
    env: {},
    signal: new AbortController().signal,
  })
  return { status, stdout: stdout.text, stderr: stderr.text }
}

const SMALL = ['--device', 'cpu', '--model', 'SiT-S/8', '--batch', '1', '--steps', '3', '--rounds', '2']

test('one JSON object with the figures', async () => {
  const { status, stdout, stderr } = await repa(...SMALL, '--size', '512', '--cfg-scale', '1', '--json')
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
  // Unguided, a step is one evaluation.
  expect(JSON.parse(stdout)).toMatchObject({
    model: 'SiT-S/8',
    size: 512,
    batch: 1,
    steps: 3,
    evaluations: 3,
    device: 'cpu',
  })
  expect(JSON.parse(stdout).ours.seconds.seconds).toHaveLength(2)
})

test('a table for people', async () => {
  const { status, stdout, stderr } = await repa(...SMALL)
  expect({ status, stdout }).toEqual({ status: 0, stdout: '' })
  expect(stderr).toMatch(
    /^SiT-S\/8, 256 px, .* parameters, batch 1, 3 steps of the SDE, 5 evaluations an image, fp32, /m,
  )
  expect(stderr).toMatch(/^ +median +best +spread +a step +images\/s +peak memory$/m)
  expect(stderr).toMatch(/TFLOP\/s, \d+ % of the multiply-add peak measured beside/)
})

test.each([
  [['--steps', '0'], 2, '--steps: expected'],
  [['--cfg-scale', '0.5'], 2, '--cfg-scale: expected'],
  [['--device', 'cpu', '--precision', 'bf16'], 1, 'The CPU computes in fp32 only, not in bf16'],
  [['--device', 'cpu', '--probe-side', '64'], 1, '--probe-side is for a GPU'],
] as const)('%o', async (words, status, message) => {
  const result = await repa(...words)
  expect(result).toMatchObject({ status, stdout: '' })
  expect(result.stderr).toContain(message)
})
