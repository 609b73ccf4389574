import { expect, test } from 'vitest'
import { dispatch } from '../../../src/cli/dispatch.ts'
import { RecordingStream } from '../recording-stream.ts'

async function repa(...words: string[]) {
  const [stdout, stderr] = [new RecordingStream(), new RecordingStream()]
  const status = await dispatch(words, { stdout, stderr, env: {}, signal: new AbortController().signal })
  return { status, stdout: stdout.text, stderr: stderr.text }
}

test('one JSON object with the figures', async () => {
  const words = ['--device', 'cpu', '--model', 'SiT-S/8', '--batch', '1', '--rounds', '2', '--json']
  const { status, stdout, stderr } = await repa('bench', 'step', ...words)
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
  expect(JSON.parse(stdout)).toMatchObject({ model: 'SiT-S/8', size: 256, batch: 1, device: 'cpu' })
  expect(JSON.parse(stdout).ours.seconds.seconds).toHaveLength(2)
})

test('a table for people', async () => {
  const words = ['--device', 'cpu', '--model', 'SiT-S/8', '--batch', '1', '--rounds', '1']
  const { status, stdout, stderr } = await repa('bench', 'step', ...words)
  expect({ status, stdout }).toEqual({ status: 0, stdout: '' })
  expect(stderr).toMatch(/^ +median +best +spread +images\/s +peak memory$/m)
  expect(stderr).toMatch(/% of the multiply-add peak measured beside/)
})

test('on larger images', async () => {
  const words = ['--device', 'cpu', '--model', 'SiT-S/8', '--size', '512', '--batch', '1', '--rounds', '1', '--json']
  const { status, stdout } = await repa('bench', 'step', ...words)
  expect(status).toBe(0)
  expect(JSON.parse(stdout)).toMatchObject({ model: 'SiT-S/8', size: 512, batch: 1 })
})

test('a run of a second after the measured steps', async () => {
  const words = ['--device', 'cpu', '--model', 'SiT-S/8', '--batch', '1', '--rounds', '1', '--seconds', '1']
  const { status, stdout, stderr } = await repa('bench', 'step', ...words)
  expect({ status, stdout }).toEqual({ status: 0, stdout: '' })
  expect(stderr).toMatch(/^seconds +steps +images\/s$/m)
  expect(stderr).toMatch(
    /^\d+ steps in [\d.]+ s: [\d.]+ images\/s, [\d.]+ % of the rate of the steps measured before$/m,
  )
})

test('a line about the busy process', async () => {
  const words = ['--device', 'cpu', '--model', 'SiT-S/8', '--batch', '1', '--beside-busy-process']
  const { status, stdout, stderr } = await repa('bench', 'step', ...words)
  expect({ status, stdout }).toEqual({ status: 0, stdout: '' })
  expect(stderr).toMatch(/^Beside a busy process a step takes .+, [\d.]+ times as long \(pair by pair [\d.]+\)$/m)
})

test.each([
  [['--model', 'SiT-M/2'], 2, 'expected SiT-S/2, SiT-S/4'],
  [['--batch', '0'], 2, '--batch: expected'],
  [['--size', '4'], 2, '--size: expected'],
  [['--device', 'cpu', '--size', '300'], 1, 'The size of the images is 300 pixels; expected a multiple of 8'],
  [['--seconds', '0'], 2, '--seconds: expected'],
  [['--device', 'cpu', '--seconds', '1', '--against', 'python'], 1, 'so many seconds is of our step alone'],
  [['--device', 'cuda:99'], 1, 'There is no cuda:99 here'],
  [['--device', 'cpu', '--cuda-graph'], 1, '--cuda-graph is for a GPU, and this measures the CPU'],
  [['--device', 'cpu', '--turns', 'blocks'], 1, '--turns is for a GPU'],
  [['--device', 'cpu', '--baseline-regions', 'blocks'], 1, '--baseline-regions is of the baseline, and there is none'],
  [['--device', 'cpu', '--against', 'python', '--baseline-regions', 'blocks'], 1, 'regions are of what torch.compile'],
  [['--device', 'cpu', '--probe-side', '64'], 1, '--probe-side is for a GPU'],
  [['--device', 'cpu', '--precision', 'bf16'], 1, 'The CPU computes in fp32 only, not in bf16'],
] as const)('%o', async (words, status, message) => {
  const result = await repa('bench', 'step', ...words)
  expect(result).toMatchObject({ status, stdout: '' })
  expect(result.stderr).toContain(message)
})
