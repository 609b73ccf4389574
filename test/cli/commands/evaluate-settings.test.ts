/** What a command line says of an evaluation reaches it, and stands in what it writes. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { dispatch } from '../../../src/cli/dispatch.ts'
import { train } from '../../../src/training/run.ts'
import { tinyDataset } from '../../data/tiny-dataset.ts'
import { temporaryFolder } from '../../temporary-folder.ts'
import { RecordingStream } from '../recording-stream.ts'

/** What `repa evaluate` writes with these words. */
async function evaluated(...words: string[]): Promise<unknown> {
  const [stdout, stderr] = [new RecordingStream(), new RecordingStream()]
  const out = join(temporaryFolder(), 'numbers.json')
  const all = ['evaluate', ...words, '--out', out, '--quiet']
  const status = await dispatch(all, { stdout, stderr, env: {}, signal: new AbortController().signal })
  expect({ status, stdout: stdout.text }).toEqual({ status: 0, stdout: '' })
  return JSON.parse(readFileSync(out, 'utf8'))
}

const SCHEDULE = ['--epochs', '2', '--probe-batch', '3', '--lr', '0.01']
const schedule = { epochs: 2, batch: 3, learningRate: 0.01 }
const CURVE = ['--layers', '2', '--noise', '0,0.5']
const curve = { layers: [2], noise: [0, 0.5] }

test.each([
  ['probe', [...SCHEDULE, ...CURVE, '--images', '10'], { ...curve, schedule, trainImages: 8, testImages: 2 }],
  [
    'cknna',
    [...CURVE, '--images', '9', '--neighbours', '3', '--encoder', 'hog'],
    { ...curve, images: 9, neighbours: 3, encoder: 'hog' },
  ],
] as const)('%s of a model', async (command, words, record) => {
  const [data, checkpoint] = [await tinyDataset(12), join(temporaryFolder(), 'run')]
  const model = { kind: 'SiT', depth: 2, hidden: 16, heads: 2, patch: 2 } as const
  await train({ data, out: checkpoint, configuration: { model, batch: 2, steps: 1 }, device: 'cpu' })
  const found = await evaluated(command, '--checkpoint', checkpoint, '--data', data, ...words)
  expect(found).toMatchObject({ kind: command, checkpoint, step: 1, data, ...record })
})

test('probe of an encoder', async () => {
  const data = await tinyDataset(12)
  const found = await evaluated('probe', '--encoder', 'hog', '--data', data, ...SCHEDULE, '--images', '5')
  expect(found).toMatchObject({ kind: 'encoder-probe', encoder: 'hog', data, schedule, trainImages: 4, testImages: 1 })
})

test('fid of samples of which nothing is noted', async () => {
  const images = join(await tinyDataset(4), 'images')
  const found = await evaluated('fid', '--reference', images, '--samples', images, '--features', 'hog', '--step', '7')
  expect(found).toMatchObject({ kind: 'fid', step: 7, network: 'hog', reference: images, samples: images })
})
