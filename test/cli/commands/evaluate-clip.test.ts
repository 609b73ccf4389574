import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { dispatch } from '../../../src/cli/dispatch.ts'
import { Dataset } from '../../../src/data/dataset.ts'
import { encodePng } from '../../../src/data/png.ts'
import { evaluateClipScore } from '../../../src/evaluation/clip-score.ts'
import { readEvaluations } from '../../../src/report/evaluations.ts'
import { captionedDataset } from '../../data/captioned-dataset.ts'
import { syntheticImage } from '../../data/synthetic-image.ts'
import { writeClip } from '../../evaluation/clip-files.ts'
import { temporaryFolder } from '../../temporary-folder.ts'
import { writeTree } from '../../write-tree.ts'
import { RecordingStream } from '../recording-stream.ts'

async function evaluate(...words: string[]) {
  const [stdout, stderr] = [new RecordingStream(), new RecordingStream()]
  const { signal } = new AbortController()
  const status = await dispatch(['evaluate', 'clip', ...words], { stdout, stderr, env: {}, signal })
  return { status, stderr: stderr.text, stdout: stdout.text }
}

const SAMPLING = { mode: 'ode', solver: 'euler', steps: 50, path: 'linear', guidanceScale: 2, seed: 0, classes: null }

/** As repa sample leaves it. */
function samples(prompts = 'a photo of the cat\n10 cats\n'): string {
  const folder = temporaryFolder()
  const png = (seed: number) => encodePng(syntheticImage(32, 32, seed).data, 32, 32, 3)
  writeTree(folder, {
    '000000.png': png(1),
    '000001.png': png(2),
    'prompts.txt': prompts,
    'sampling.json': JSON.stringify({ checkpoint: 'runs/coco', step: 700, sampling: SAMPLING }),
  })
  return folder
}

test('samples, with what was noted beside them, for the report', async () => {
  const [folder, clip] = [samples(), await writeClip(temporaryFolder())]
  const evaluation = temporaryFolder()
  const out = join(evaluation, 'clip.json')
  const found = await evaluate('--samples', folder, '--clip', clip, '--out', out)
  const expected = await evaluateClipScore({ samples: folder, clip, device: 'cpu', batch: 32 })
  expect(found.status).toBe(0)
  expect(found.stderr.split('\n').map((line) => line.replace(/ {2,}/, ' | '))).toEqual([
    expect.stringMatching(/^clip: 2\/2 images in /),
    'measure | value',
    `CLIP score (ViT-128x2/8@24px), 100 · cosine | ${(100 * expected.cosine).toFixed(3)}`,
    `its standard error | ${(100 * expected.standardError!).toFixed(3)}`,
    'images | 2',
    '',
  ])
  const record = {
    checkpoint: 'runs/coco',
    step: 700,
    sampling: SAMPLING,
    samples: folder,
    clip,
    ...expected,
  }
  expect(JSON.parse(await readFile(out, 'utf8'))).toEqual(record)
  const [read] = await readEvaluations(evaluation)
  expect(read).toEqual(record)
})

test('other captions, another step, and one JSON object', async () => {
  const [folder, clip] = [samples('10 cats\na photo of the cat\n'), await writeClip(temporaryFolder())]
  const captions = join(temporaryFolder(), 'captions.txt')
  await writeFile(captions, 'the cats\n\n')
  const found = await evaluate('--samples', folder, '--captions', captions, '--clip', clip, '--step', '9', '--json')
  expect(found).toMatchObject({
    status: 0,
    stderr: expect.stringContaining('1 of 2 images have no caption and are left out.'),
  })
  const expected = await evaluateClipScore({ samples: folder, captions, clip, device: 'cpu', batch: 1 })
  expect(expected).toMatchObject({ images: 1, withoutCaption: 1, standardError: null })
  expect(JSON.parse(found.stdout)).toMatchObject({ ...expected, captions, step: 9, checkpoint: 'runs/coco' })
})

test('the real images of a data set', async () => {
  const [data, clip] = [await captionedDataset(6), await writeClip(temporaryFolder())]
  const found = await evaluate('--data', data, '--clip', clip, '--json')
  const opened = await Dataset.open(data)
  const expected = await evaluateClipScore({ data: opened, clip, device: 'cpu', batch: 32 })
  const images = opened.captions!.filter((own) => own.length > 0).length
  expect(images).toBeLessThan(6)
  expect(expected).toMatchObject({ images, withoutCaption: 6 - images })
  expect(JSON.parse(found.stdout)).toEqual({ data, clip, ...expected })
})

test.each([
  ['neither samples nor data', [], 'Give either --samples S or --data DATA: the images that are scored.'],
  ['both', ['--samples', 's', '--data', 'd'], 'Give either --samples S or --data DATA: the images that are scored.'],
  [
    'captions of a data set',
    ['--data', 'd', '--captions', 'c.txt'],
    '--captions is of samples, and DATA has captions of its own; leave it out.',
  ],
  [
    'a step of a data set',
    ['--data', 'd', '--step', '3'],
    '--step is of the model of samples, and DATA is of none; leave it out.',
  ],
])('%s is a wrong command line', async (_, words, message) => {
  const found = await evaluate(...words, '--clip', 'clip')
  expect(found.status).toBe(2)
  expect(found.stderr).toContain(message)
})

test('samples that are not all there are warned of', async () => {
  const [folder, clip] = [samples(), await writeClip(temporaryFolder())]
  writeTree(folder, { 'unfinished/repa-sampling.json': '{}' })
  const found = await evaluate('--samples', folder, '--clip', clip)
  expect(found.status).toBe(0)
  expect(found.stderr).toContain(`warning: ${folder} holds an unfinished sampling: its images are not all there`)
})
