import { expect, test } from 'vitest'
import { dispatch } from '../../../src/cli/dispatch.ts'
import { tinyDataset } from '../../data/tiny-dataset.ts'
import { RecordingStream } from '../recording-stream.ts'

async function repa(...words: string[]) {
  const [stdout, stderr] = [new RecordingStream(), new RecordingStream()]
  const status = await dispatch(['evaluate', 'probe', ...words], {
    stdout,
    stderr,
    env: {},
    signal: new AbortController().signal,
  })
  return { status, stdout: stdout.text, stderr: stderr.text }
}

test.each([
  [['--layers', '6'], '--layers is of a model'],
  [['--noise', '0,0.5'], '--noise is of a model'],
  [['--weights', 'model'], '--weights is of a model'],
  [['--path', 'cosine'], '--path is of a model'],
  [['--autoencoder', 'vae'], '--autoencoder is of a model'],
  [['--class-token-encoder', 'hog'], '--class-token-encoder is of a model'],
] as const)('an encoder has no %o', async (words, message) => {
  const result = await repa('--encoder', 'hog', '--data', 'nowhere', ...words)
  expect(result).toMatchObject({ status: 2, stdout: '' })
  expect(result.stderr).toContain(message)
})

test('an encoder is probed on clean images, as --noise 0 says', async () => {
  const data = await tinyDataset(10)
  const { status, stdout } = await repa(...['--encoder', 'hog', '--data', data], '--noise', '0', '--json')
  expect(status).toBe(0)
  expect(JSON.parse(stdout)).toMatchObject({ kind: 'encoder-probe', classes: 9, trainImages: 8, testImages: 2 })
})

test.each([
  [
    [],
    "A step takes all 8 training images, so that the probe made 90 steps; the paper's makes 7020 on ImageNet. A smaller --probe-batch makes more.",
  ],
  [['--probe-batch', '4'], undefined],
] as const)('a schedule of few steps is said to be one: %o', async (words, warning) => {
  const data = await tinyDataset(10)
  const { status, stderr } = await repa(...['--encoder', 'hog', '--data', data], ...words)
  expect(status).toBe(0)
  if (warning === undefined) expect(stderr).not.toContain('warning')
  else expect(stderr).toContain(`warning: ${warning}\n`)
})
