import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { dispatch } from '../../../src/cli/dispatch.ts'
import { tinyDataset } from '../../data/tiny-dataset.ts'
import { temporaryFolder } from '../../temporary-folder.ts'
import { RecordingStream } from '../recording-stream.ts'

test('every setting of the command line is that of the run', async () => {
  const [data, out] = [await tinyDataset(4), join(temporaryFolder(), 'run')]
  const vit = { patch: 16, hidden: 16, depth: 1, heads: 2 }
  const own = { method: 'mae', steps: 1, batch: 2, precision: 'fp32', seed: 3 }
  const settings = { ...vit, ...own, lr: 0.01, 'checkpoint-every': 7 }
  const flags = Object.entries(settings).map(([name, value]) => `--${name}=${value}`)
  const [stdout, stderr] = [new RecordingStream(), new RecordingStream()]
  const status = await dispatch(['pretrain-encoder', '--data', data, '--out', out, '--quiet', ...flags], {
    stdout,
    stderr,
    env: {},
    signal: new AbortController().signal,
  })
  expect({ status, stderr: stderr.text }).toEqual({ status: 0, stderr: '' })
  expect(JSON.parse(readFileSync(join(out, 'config.json'), 'utf8'))).toEqual({
    data,
    pretraining: { ...vit, ...own, learningRate: 0.01, checkpointEvery: 7 },
  })
})
