/** A training checkpoint of REPA's train_t2i.py goes on here. */
import { readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { adoptCheckpoint } from '../../src/conversion/adopt.ts'
import { convert } from '../../src/conversion/convert.ts'
import { type WritableTorchValue, writeTorchCheckpoint } from '../../src/formats/torch-checkpoint-writer.ts'
import { captionEncoderDigest } from '../../src/text/clip-files.ts'
import { readCheckpointState } from '../../src/training/checkpoint.ts'
import { train } from '../../src/training/run.ts'
import type { TrainingStep } from '../../src/training/trainer-options.ts'
import { tinyEncoder } from '../alignment/tiny-encoder.ts'
import { captionedDataset } from '../data/captioned-dataset.ts'
import { tinyDataset } from '../data/tiny-dataset.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { writeClipFolder } from '../text/clip-folder.ts'
import { referenceCheckpoint, tinyModel, tinyTextModel } from './tiny-checkpoint.ts'

const CAPTION_ENCODER_NOTE =
  "The file does not tell what encodes its captions: name it by `captionEncoder`; REPA took openai/clip-vit-large-patch14's."

async function written(value: WritableTorchValue): Promise<{ path: string; run: string }> {
  const folder = temporaryFolder()
  const path = join(folder, '0000007.pt')
  await writeTorchCheckpoint(path, value)
  return { path, run: join(folder, 'run') }
}

test("the optimizer of train_t2i.py counts no positions, for they are a buffer of the model's", () => {
  const [first, second] = [tinyModel, tinyTextModel].map((model) => [...referenceCheckpoint(model).opt.state.keys()][0])
  expect([first, second]).toEqual([1, 0])
})

test('what encodes captions is not in the file, and that is said', async () => {
  const { path, run } = await written(referenceCheckpoint(tinyTextModel))
  expect(await convert(path, run, { heads: 2 })).toMatchObject({ notes: [CAPTION_ENCODER_NOTE] })
})

test.each([
  ['legacy', { legacy: true, cfg_prob: 0.3 }, 0.1],
  ['a dropout of its own', { class_dropout_prob: 0.25 }, 0.25],
])('captions are dropped once, by the data set, with %s', async (_, more, classDropout) => {
  const { args, ...rest } = referenceCheckpoint(tinyTextModel)
  const { path, run } = await written({ ...rest, args: { ...args, ...more } })
  expect(await convert(path, run, { heads: 2 })).toMatchObject({ notes: [CAPTION_ENCODER_NOTE] })
  const { model, configuration } = await readCheckpointState(run)
  expect(model.classDropout).toBe(classDropout)
  expect(configuration).toMatchObject({ training: { classDropout } })
})

/** As wide as `tinyEncoder` makes features. */
const MODEL = { ...tinyTextModel, alignWidths: [64] }

test('adopted, it goes on where its caption encoder is named, and converts back', async () => {
  const folder = temporaryFolder()
  const [file, out] = [join(folder, '0000007.pt'), join(folder, 'run')]
  const reference = referenceCheckpoint(MODEL)
  await writeTorchCheckpoint(file, { ...reference, args: { ...reference.args, batch_size: 2 } })
  const { step, notes } = await adoptCheckpoint(file, out, { heads: 2 })
  expect({ step, notes }).toEqual({
    step: 7,
    notes: [CAPTION_ENCODER_NOTE],
  })

  const data = await captionedDataset(4)
  const clip = await writeClipFolder(join(folder, 'clip'))
  const encoder = {
    name: 'dinov2-vit-b',
    file: await tinyEncoder('dinov2-vit-b', join(folder, 'encoder.safetensors')),
  } as const
  const steps: TrainingStep[] = []
  const go = (where: string, captionEncoder?: string) =>
    train({
      data: where,
      out,
      resume: true,
      device: 'cpu',
      onStep: (made) => steps.push(made),
      configuration: {
        steps: 9,
        encoders: [encoder],
        samples: { count: 1, steps: 1 },
        ...(captionEncoder !== undefined && { captionEncoder: { file: captionEncoder } }),
      },
    })
  await expect(go(data)).rejects.toThrow('The model is told captions, and nothing encodes them')
  const uncaptioned = await tinyDataset(4)
  await expect(go(uncaptioned, clip)).rejects.toThrow(
    `The data in ${uncaptioned} have no captions, which the model is told; prepare them with \`captions\`.`,
  )
  const narrow = await writeClipFolder(join(folder, 'narrow'), { tokens: 5 })
  await expect(go(data, narrow)).rejects.toThrow('makes 5 hidden states of 64, and the model reads 77 of 64')
  expect(steps).toEqual([])

  const result = await go(data, clip)
  expect(result).toMatchObject({ step: 9, interrupted: false })
  expect(steps.map(({ index, finite, skipped }) => ({ index, finite, skipped }))).toEqual([
    { index: 8, finite: true, skipped: 1 },
    { index: 9, finite: true, skipped: 1 },
  ])
  const { training } = JSON.parse(await readFile(join(out, 'config.json'), 'utf8')) as { training: object }
  const captionEncoder = { file: clip, digest: await captionEncoderDigest(clip) }
  expect(training).toMatchObject({ captionEncoder, batch: 2, model: { text: { tokens: 77, width: 64 } } })
  expect(await readCheckpointState(result.checkpoint)).toMatchObject({ step: 9, updates: 8, model: MODEL })
  // Its checkpoint says by which weights it was trained, whatever file they are in now.
  await rm(join(out, 'config.json'))
  const other = await writeClipFolder(join(folder, 'other'), { seed: 900 })
  await expect(go(data, other)).rejects.toThrow(`${other} is another caption encoder than the run's`)

  await convert(result.checkpoint, join(folder, 'back.pt'))
  await convert(join(folder, 'back.pt'), join(folder, 'again'))
  expect(await readCheckpointState(join(folder, 'again'))).toMatchObject({ step: 9, updates: 8, model: MODEL })
}, 60_000)
