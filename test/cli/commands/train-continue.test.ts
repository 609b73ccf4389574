/** `repa train --continue`, refused and corrected. */
import { existsSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { dispatch } from '../../../src/cli/dispatch.ts'
import { writeTorchCheckpoint } from '../../../src/formats/torch-checkpoint-writer.ts'
import { referenceCheckpoint, tinyModel } from '../../conversion/tiny-checkpoint.ts'
import { tinyDataset } from '../../data/tiny-dataset.ts'
import { temporaryFolder } from '../../temporary-folder.ts'
import { RecordingStream } from '../recording-stream.ts'

/** Of tinyModel: what no tensor tells is its number of heads. */
const MODEL = '{"kind":"SiT","depth":2,"hidden":16,"heads":2,"patch":2}'

async function repa(...words: string[]) {
  const [stdout, stderr] = [new RecordingStream(), new RecordingStream()]
  const status = await dispatch(words, { stdout, stderr, env: {}, signal: new AbortController().signal })
  return { status, stdout: stdout.text, stderr: stderr.text }
}

/** The reference's checkpoint of step 7 of a model without projectors, so that no encoder's file is needed, and of the data's classes. */
async function checkpoint(folder: string): Promise<string> {
  const path = join(folder, '0000007.pt')
  const reference = referenceCheckpoint({ ...tinyModel, classes: 9, alignWidths: [] })
  const args = { ...reference.args, num_classes: 9, enc_type: 'None', batch_size: 2 }
  await writeTorchCheckpoint(path, { ...reference, args })
  return path
}

test.each([
  ['settings that contradict each other', ['--accumulate', '3'], /cannot be cut into 3 equal passes/],
  ['a setting that is none', ['--lr-decay', 'linear'], /give --lr-decay-until/],
  [
    'an encoder that the model has no projector for',
    ['--encoder', 'hog'],
    /has projectors for encoders of these widths: none/,
  ],
  [
    'weights to begin from too',
    ['--init', 'nowhere'],
    /goes on from a checkpoint, and cannot begin from nowhere too: leave out --init\./,
  ],
])('%s: the call is refused, and the corrected one trains', async (_, wrong, sentence) => {
  const folder = temporaryFolder()
  const [path, run, data] = [await checkpoint(folder), join(folder, 'run'), await tinyDataset(3)]
  const words = ['train', '--data', data, '--continue', path, '--out', run, '--steps', '8', '--model', MODEL]
  const refused = await repa(...words, ...wrong)
  expect(refused).toMatchObject({ status: 1, stderr: expect.stringMatching(sentence) })
  expect(existsSync(run)).toBe(false)
  expect(await repa(...words)).toMatchObject({ status: 0, stderr: expect.stringContaining('done at step 8') })
})

test('a folder that was there stays', async () => {
  const folder = temporaryFolder()
  const [path, run, data] = [await checkpoint(folder), join(folder, 'run'), await tinyDataset(3)]
  await mkdir(run)
  const words = ['train', '--data', data, '--continue', path, '--out', run, '--steps', '8', '--model', MODEL]
  expect(await repa(...words, '--accumulate', '3')).toMatchObject({ status: 1 })
  expect(existsSync(run)).toBe(true)
  expect(existsSync(join(run, 'checkpoints'))).toBe(false)
})

test('a run that has begun stays, and is no place for another', async () => {
  const folder = temporaryFolder()
  const [path, run, data] = [await checkpoint(folder), join(folder, 'run'), await tinyDataset(3)]
  const words = ['train', '--data', data, '--continue', path, '--out', run, '--steps', '8', '--model', MODEL]
  expect(await repa(...words)).toMatchObject({ status: 0 })
  expect(await repa(...words)).toMatchObject({
    status: 1,
    stderr: `repa train: ${run} already holds a run; go on with it by --resume, or choose another --out.\n`,
  })
  expect(existsSync(join(run, 'checkpoints/0000008/state.json'))).toBe(true)
})
