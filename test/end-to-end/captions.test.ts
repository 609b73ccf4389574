/** Text to image by the command line: images with captions, a small MMDiT that trains on them, its samples, and what there is to say of it. */
import { cp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Dataset } from '../../src/data/dataset.ts'
import { DEMO_CLASSES, writeDemoImages } from '../../src/data/demo-images.ts'
import { decodeImage } from '../../src/data/image-decoding.ts'
import { captionEncoderDigest } from '../../src/text/clip-files.ts'
import { folderDigest } from '../data/folder-digest.ts'
import { writeClipFolder } from '../text/clip-folder.ts'
import { Program, until } from './program.ts'

const [SIZE, PER_CLASS, STEPS] = [16, 4, 30]
const IMAGES = DEMO_CLASSES.length * PER_CLASS
const MODEL = { kind: 'SiT', depth: 2, hidden: 64, heads: 2, patch: 4, text: { width: 64 } }
const SETTINGS = {
  model: MODEL,
  captionEncoder: { file: 'clip' },
  encoders: [{ name: 'hog' }],
  batch: 8,
  learningRate: 2e-3,
  emaDecay: 0.9,
  projectorWidth: 32,
  checkpointEvery: 10,
  sampleEvery: 15,
  samples: { count: 4, steps: 2, guidanceScale: 2 },
}
const CLASSES = { ...SETTINGS, model: { ...MODEL, text: undefined }, captionEncoder: undefined }

/** The words of the command; of a flag given twice the last counts. */
const train = (out: string, ...words: string[]) => [
  ...['train', '--data', 'data', '--out', out, '--config', 'settings.json', '--steps', String(STEPS), '--json'],
  ...words,
]
const sample = (out: string, ...words: string[]) => [
  ...['sample', '--checkpoint', 'run', '--out', out, '--num', '5', '--steps', '3', '--json', ...words],
]

let program: Program
const inWork = (...path: string[]) => join(program.work, ...path)
const json = async (...path: string[]) => JSON.parse(await readFile(inWork(...path), 'utf8'))

/** Of an image, by its class and its number. */
const captionsOf = (name: string, index: number) => [`a photo of the ${name}`, `the ${name}, no. ${index}`]

beforeAll(async () => {
  program = await Program.build()
  await writeDemoImages(inWork('drawn'), { perClass: PER_CLASS, size: SIZE })
  for (const name of DEMO_CLASSES) {
    for (let i = 0; i < PER_CLASS; i++) {
      const file = inWork('drawn', name, `${String(i).padStart(5, '0')}.txt`)
      await writeFile(file, captionsOf(name, i).join('\n'))
    }
  }
  await writeClipFolder(inWork('clip'))
  await writeClipFolder(inWork('other-clip'), { seed: 7 })
  await writeClipFolder(inWork('wide-clip'), { hidden: 128 })
  await writeFile(inWork('settings.json'), JSON.stringify(SETTINGS))
  await writeFile(inWork('classes.json'), JSON.stringify(CLASSES))
  await writeFile(inWork('prompts.txt'), 'a photo of the star\n\na photo of the ring\r\n\n')
  await writeFile(inWork('empty.txt'), '')
  const words = ['prepare', 'drawn', '--size', String(SIZE), '--quiet']
  for (const [out, ...more] of [['data', '--captions', 'beside'], ['plain']] as const) {
    expect(await program.repa(...words, '--out', out, ...more)).toMatchObject({ status: 0, stderr: '' })
  }
  expect(await program.repa(...train('run'))).toMatchObject({ status: 0, stderr: '' })
  const ofClasses = train('of-classes', '--config', 'classes.json', '--steps', '1')
  expect(await program.repa(...ofClasses)).toMatchObject({ status: 0, stderr: '' })
})

afterAll(() => program[Symbol.asyncDispose]())

const lines = (stdout: string): Record<string, unknown>[] =>
  stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line))

async function imagesOf(folder: string): Promise<Uint8Array[]> {
  const names = (await readdir(inWork(folder))).filter((name) => name.endsWith('.png')).sort()
  return Promise.all(names.map(async (name) => (await decodeImage(await readFile(inWork(folder, name)), name)).data))
}

/** Everything that a run leaves which does not depend on the time of day. */
async function lasting(out: string) {
  const metrics = (await readFile(inWork(out, 'metrics.jsonl'), 'utf8')).trimEnd().split('\n')
  return {
    config: await json(out, 'config.json'),
    files: { checkpoints: folderDigest(inWork(out, 'checkpoints')), samples: folderDigest(inWork(out, 'samples')) },
    metrics: metrics.map((line) => ({ ...JSON.parse(line), seconds: 0, imagesPerSecond: 0 })),
  }
}

async function copyRun(name: string): Promise<string> {
  await cp(inWork('run'), inWork(name), { recursive: true })
  return name
}

describe('the run', () => {
  test('is of captions: it says what encoded them, learns, and draws grids', async () => {
    const { config, files, metrics } = await lasting('run')
    expect(config.training).toMatchObject({
      model: { ...MODEL, text: { tokens: 77, width: 64 } },
      captionEncoder: { file: 'clip', digest: await captionEncoderDigest(inWork('clip')) },
    })
    expect(Object.keys(files.samples)).toEqual(['0000015.png', '0000030.png'])
    const mean = (part: typeof metrics) => part.reduce((sum, { denoising }) => sum + denoising, 0) / part.length
    expect(mean(metrics.slice(-5))).toBeLessThan(0.8 * mean(metrics.slice(0, 5)))
  })

  test('says in words what it trains on', async () => {
    const { stderr } = await program.repa(
      ...train(await copyRun('said'), '--resume').filter((word) => word !== '--json'),
    )
    expect(stderr).toMatch(
      /^SiT 2 x 64: \d\.\d M parameters, hog, 40 images with captions, encoded by clip-text-64x1$/m,
    )
  })

  test('killed and resumed, ends as the unbroken one, to the byte', async () => {
    const running = program.start(train('killed'))
    await until(running, ({ stdout }) => stdout.includes('"index":13,'))
    running.child.kill('SIGKILL')
    expect(await running.ended).toMatchObject({ signal: 'SIGKILL', stderr: '' })
    expect(await program.repa(...train('killed', '--resume'))).toMatchObject({ status: 0, stderr: '' })
    expect(await lasting('killed')).toEqual(await lasting('run'))
  })

  test('goes on with its caption encoder in another place, and not with other weights', async () => {
    const go = (encoder: string) => train('longer', '--resume', '--steps', '32', '--caption-encoder', encoder)
    await copyRun('longer')
    await cp(inWork('clip'), inWork('moved'), { recursive: true })
    const digests = await Promise.all(['clip', 'other-clip'].map((name) => captionEncoderDigest(inWork(name))))
    const [own, other] = digests.map((digest) => `${digest.slice(0, 12)}…`)
    expect(await program.repa(...go('other-clip'))).toMatchObject({
      status: 1,
      stdout: '',
      stderr:
        "repa train: other-clip is another caption encoder than the run's, by its weights, tokenizer or config.json: SHA-256 " +
        `${other}, not ${own}; pass the one that it began with, by --caption-encoder FILE.\n`,
    })
    expect(await lasting('longer')).toEqual(await lasting('run'))
    expect(await program.repa(...go('moved'))).toMatchObject({ status: 0, stderr: '' })
    expect(await json('longer/config.json')).toMatchObject({
      training: { captionEncoder: { file: 'moved', digest: digests[0] } },
    })
  })
})

describe('samples', () => {
  test('of prompts, in turn: images, their captions, and how they were made', async () => {
    const prompts = ['--prompt', 'a photo of the star', '--prompt', 'the\tring']
    const { status, stdout, stderr } = await program.repa(...sample('of-prompts', ...prompts, '--batch', '2'))
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
    expect(lines(stdout)).toEqual([{ count: 5, folder: 'of-prompts', labels: [] }])
    const images = Array.from({ length: 5 }, (_, i) => `00000${i}.png`)
    expect((await readdir(inWork('of-prompts'))).sort()).toEqual([...images, 'prompts.txt', 'sampling.json'])
    const [star, ring] = ['a photo of the star\n', 'the ring\n']
    expect(await readFile(inWork('of-prompts/prompts.txt'), 'utf8')).toBe(star + ring + star + ring + star)
    const { sampling, ...origin } = await json('of-prompts/sampling.json')
    expect(origin).toEqual({ checkpoint: 'run', step: STEPS })
    expect(sampling).toMatchObject({
      mode: 'ode',
      solver: 'euler',
      steps: 3,
      guidanceScale: 2,
      guidanceLow: 0,
      guidanceHigh: 1,
      prompts: 2,
      promptsDigest: expect.stringMatching(/^[0-9a-f]{64}$/),
      captionEncoder: 'clip-text-64x1',
      classes: null,
    })
    // The caption counts, and so does the image's number.
    await program.repa(...sample('of-star', '--prompt', 'a photo of the star'))
    const [both, alone] = await Promise.all(['of-prompts', 'of-star'].map(imagesOf))
    expect(both!.map((image, i) => Buffer.from(image).equals(alone![i]!))).toEqual([true, false, true, false, true])
    expect(new Set(alone!.map((image) => Buffer.from(image).toString('base64'))).size).toBe(5)
  })

  test.each([
    ['a file, a blank line being the empty one', 'prompts.txt', ['a photo of the star', '', 'a photo of the ring', '']],
    ['a data set', 'data', ['checkerboard', 'checkerboard', 'checkerboard'].map((name) => `a photo of the ${name}`)],
  ])('of the captions of %s', async (_, prompts, captions) => {
    const out = `of-${prompts}`
    const result = await program.repa(...sample(out, '--prompts', prompts, '--num', String(captions.length)))
    expect(result).toMatchObject({ status: 0, stderr: '' })
    expect(await readFile(inWork(out, 'prompts.txt'), 'utf8')).toBe(captions.map((caption) => `${caption}\n`).join(''))
    const { captions: all } = await Dataset.open(inWork('data'))
    const { sampling } = await json(out, 'sampling.json')
    expect(sampling.prompts).toBe(prompts === 'data' ? all!.length : captions.length)
  })

  test.each([
    ['ode', ['--batch', '1'], ['--batch', '3']],
    ['sde', ['--batch', '1'], ['--batch', '3']],
    ['ode', ['--batch', '2'], ['--batch', '2', '--processes', '2']],
  ])('by %s are the same with %j and with %j, but for rounding', async (mode, ...ways) => {
    const folders = await Promise.all(
      ways.map(async (way, i) => {
        const out = `${mode} ${way.join(' ')} ${i}`
        const words = ['--prompts', 'data', '--mode', mode, '--device', 'cpu', ...way]
        expect(await program.repa(...sample(out, ...words))).toMatchObject({ status: 0, stderr: '' })
        return out
      }),
    )
    const [first, second] = await Promise.all(folders.map(imagesOf))
    expect(first).toHaveLength(5)
    for (const [i, image] of first!.entries()) {
      // A value that lies between two levels may be rounded to either.
      expect(Math.max(...image.map((level, k) => Math.abs(level - second![i]![k]!)))).toBeLessThanOrEqual(1)
    }
    const texts = await Promise.all(folders.map((folder) => readFile(inWork(folder, 'prompts.txt'), 'utf8')))
    expect(texts[0]).toBe(texts[1])
  })

  test("where the run's encoder is gone, another place is asked for; other weights are said", async () => {
    await cp(inWork('clip'), inWork('lent'), { recursive: true })
    const words = train('orphan', '--steps', '1', '--caption-encoder', 'lent')
    expect(await program.repa(...words)).toMatchObject({ status: 0, stderr: '' })
    await rm(inWork('lent'), { recursive: true })
    const draw = (...more: string[]) =>
      program.repa(...sample('of-orphan', '--checkpoint', 'orphan', '--prompt', 'the cat', '--num', '1', ...more))
    expect(await draw()).toMatchObject({
      status: 1,
      stdout: '',
      stderr:
        "repa sample: The caption encoder of the checkpoint's run, lent, is not there; name where it lies now by --caption-encoder FILE.\n",
    })
    expect(await draw('--caption-encoder', 'clip')).toMatchObject({ status: 0, stderr: '' })
    expect(await draw('--caption-encoder', 'other-clip')).toMatchObject({
      status: 0,
      stderr:
        'warning: other-clip/model.safetensors, its tokenizer or config.json is another than the model was trained with.\n',
    })
    await cp(inWork('other-clip'), inWork('lent'), { recursive: true })
    expect(await draw()).toMatchObject({
      status: 0,
      stderr:
        'warning: lent/model.safetensors, its tokenizer or config.json is another than the model was trained with.\n',
    })
    await rm(inWork('lent'), { recursive: true })
    const resume = ['train', '--data', 'data', '--out', 'orphan', '--resume', '--steps', '2', '--quiet']
    const go = (...more: string[]) => program.repa(...resume, ...more)
    expect(await go()).toMatchObject({
      status: 1,
      stdout: '',
      stderr:
        "repa train: There is no caption encoder lent: expected a file of CLIP's weights or a folder with one; name where it lies now.\n",
    })
    expect(await go('--caption-encoder', 'clip')).toMatchObject({ status: 0, stderr: '' })
  })
})

describe('what there is to say of the model', () => {
  test('evaluate cknna: beside hog, at every layer', async () => {
    const words = ['evaluate', 'cknna', '--checkpoint', 'run', '--data', 'data', '--encoder', 'hog', '--json']
    const { status, stdout, stderr } = await program.repa(...words, '--neighbours', '5')
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
    const [record] = lines(stdout) as [{ images: number; points: Record<string, number>[] }]
    expect(record.images).toBe(IMAGES)
    expect(record.points.map(({ layer }) => layer)).toEqual([1, 2])
    for (const point of record.points) expect(Object.values(point).every(Number.isFinite)).toBe(true)
  })

  test('evaluate probe: of the classes that captions do not tell it, and of an encoder that is named', async () => {
    const words = ['evaluate', 'probe', '--checkpoint', 'run', '--data', 'data', '--probe-batch', '8', '--epochs', '3']
    const run = (...more: string[]) => program.repa(...words, '--json', ...more)
    const { status, stdout, stderr } = await run()
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
    const [record] = lines(stdout) as [{ points: { layer: number; top1: number }[] }]
    expect(record.points.map(({ layer }) => layer)).toEqual([1, 2])
    // The empty caption is as much encoded by it as any other.
    const named = await run('--caption-encoder', 'clip')
    expect(named).toMatchObject({ status: 0, stdout, stderr: '' })
    expect(await run('--caption-encoder', 'wide-clip')).toMatchObject({
      status: 1,
      stderr: expect.stringMatching(
        /^repa evaluate probe: The caption encoder clip-text-128x1 makes 77 hidden states of 128,/,
      ),
    })
  })

  test("convert: from the reference's file of a checkpoint the run goes on as from its own, to the byte", async () => {
    const go = (out: string, ...words: string[]) =>
      program.repa(...['train', '--data', 'data', '--out', out, '--steps', '32', '--quiet', '--resume', ...words])
    await copyRun('own')
    expect(await go('own')).toMatchObject({ status: 0, stderr: '' })
    expect(await program.repa('convert', 'run/checkpoints/0000030', 'reference.pt')).toMatchObject({ status: 0 })
    const { status, stderr } = await program.repa('convert', 'reference.pt', 'adopted/checkpoints/0000030')
    expect({ status, stderr }).toEqual({ status: 0, stderr: expect.stringMatching(/^adopted.* 210 tensors\n$/) })
    // The file says all of the training, its EMA and what encodes its captions with it.
    expect(await go('adopted')).toMatchObject({ status: 0, stderr: '' })
    const encoder = ['--caption-encoder', 'clip']
    for (const file of ['model', 'ema', 'optimizer']) {
      const of = (run: string) => readFile(inWork(run, `checkpoints/0000032/${file}.safetensors`))
      expect((await of('adopted')).equals(await of('own')), file).toBe(true)
    }
    // It samples as the run does, the encoder named or not.
    const prompt = ['--prompt', 'a photo of the star']
    const draw = (out: string, ...words: string[]) => program.repa(...sample(out, ...prompt, ...words))
    expect(await draw('of-run')).toMatchObject({ status: 0 })
    for (const [out, words] of [
      ['of-file', []],
      ['of-named', ['--heads', '2', ...encoder]],
    ] as const) {
      expect(await draw(out, '--checkpoint', 'reference.pt', ...words)).toMatchObject({ status: 0 })
      expect(await imagesOf(out)).toEqual(await imagesOf('of-run'))
    }
  })

  test("train --continue takes the reference's file at once", async () => {
    expect(await program.repa('convert', 'run/checkpoints/0000030', 'again.pt')).toMatchObject({ status: 0 })
    const words = ['train', '--data', 'data', '--continue', 'again.pt', '--out', 'continued', '--steps', '31']
    const { status, stderr } = await program.repa(...words, '--caption-encoder', 'clip')
    expect({ status, stderr }).toEqual({
      status: 0,
      stderr: expect.stringMatching(/again\.pt: training checkpoint of step 30\n(.*\n)*done at step 31: /),
    })
  })
})

test('without dropped captions there is nothing to guide away from, and that is said', async () => {
  const words = train('undropped', '--steps', '1', '--class-dropout', '0')
  expect(await program.repa(...words)).toMatchObject({ status: 0, stderr: '' })
  const result = await program.repa(...sample('unguided', '--checkpoint', 'undropped', '--prompt', 'a cat'))
  expect(result).toMatchObject({
    status: 0,
    stderr:
      'warning: The model was trained without dropping captions, and the empty one says nothing to it: sampling without guidance.\n',
  })
  expect((await json('unguided/sampling.json')).sampling).toMatchObject({ guidanceScale: 1 })
  expect(await program.repa('evaluate', 'probe', '--checkpoint', 'undropped', '--data', 'data')).toMatchObject({
    status: 1,
    stderr: expect.stringContaining('trained without dropping captions'),
  })
})

/** Commands that make nothing, the status that they exit with, and the sentence that they end with. */
const REFUSED: readonly (readonly [string, readonly string[], number, RegExp])[] = [
  [
    'a model of text without a caption encoder',
    train('x', '--config', 'classes.json', '--model', JSON.stringify(MODEL)),
    1,
    /^repa train: The model is told captions, and nothing encodes them; give it a caption encoder, CLIP's text encoder, by --caption-encoder\.\n$/,
  ],
  [
    'data without captions',
    train('x', '--data', 'plain'),
    1,
    /^repa train: The data in plain have no captions, which the model is told; prepare them with repa prepare --captions\.\n$/,
  ],
  [
    'a caption encoder for a model of classes',
    train('x', '--config', 'classes.json', '--caption-encoder', 'clip'),
    1,
    /^repa train: A caption encoder is for a model of text, and this model is of classes; leave it out, or train an MMDiT\.\n$/,
  ],
  [
    'prompts that the images would replace',
    sample('x', '--prompts', 'x/prompts.txt'),
    2,
    /^repa sample: --prompts x\/prompts\.txt is what sampling to x replaces; copy it elsewhere, or choose another --out\.\n$/,
  ],
  [
    'a caption encoder of another width',
    train('x', '--caption-encoder', 'wide-clip'),
    1,
    /^repa train: The caption encoder clip-text-128x1 makes 77 hidden states of 128, and the model reads 77 of 64; give the model its sizes by `text`\.\n$/,
  ],
  [
    'a caption encoder that is not there',
    train('x', '--caption-encoder', 'nowhere'),
    1,
    /^repa train: There is no caption encoder nowhere: expected a file of CLIP's weights or a folder with one; name where it lies now\.\n$/,
  ],
  [
    'a caption encoder that is none',
    train('x', '--caption-encoder', 'data'),
    1,
    /^repa train: data holds no model\.safetensors or pytorch_model\.bin, .*\n$/,
  ],
  [
    'text of a DiT',
    train('x', '--model', JSON.stringify({ ...MODEL, kind: 'DiT' })),
    1,
    /^repa train: the configuration: there is no setting "text" in model\.\n$/,
  ],
  [
    'a route',
    train('x', '--route-tokens', '0.5', '--route-from', '2', '--route-to', '2'),
    1,
    /^repa train: Blocks of text and image see all tokens of both; leave out the route, or train a model of classes\.\n$/,
  ],
  [
    'classes of a model of text',
    sample('x', '--classes', '3'),
    2,
    /^repa sample: --classes is of a model of classes, and this one is told captions; leave it out\.\n$/,
  ],
  [
    'no prompt of a model of text',
    sample('x'),
    2,
    /^repa sample: The model is told captions; name what to sample by --prompt TEXT, or --prompts FILE of many\.\n$/,
  ],
  [
    'an empty file of prompts',
    sample('x', '--prompts', 'empty.txt'),
    2,
    /^repa sample: --prompts empty\.txt has no line; write a caption on each, a blank line for the empty one\.\n$/,
  ],
  [
    'prompts that are not there',
    sample('x', '--prompts', 'no.txt'),
    1,
    /^repa sample: no\.txt: there is no such file or folder.*\n$/,
  ],
  [
    'prompts of data without captions',
    sample('x', '--prompts', 'plain'),
    2,
    /^repa sample: --prompts plain is a data set without captions; prepare it with --captions, or name a file of them\.\n$/,
  ],
  [
    'a caption encoder of another width',
    sample('x', '--prompt', 'a cat', '--caption-encoder', 'wide-clip'),
    1,
    /^repa sample: The caption encoder clip-text-128x1 makes 77 hidden states of 128, and the model reads 77 of 64; name the one that it was trained with by --caption-encoder\.\n$/,
  ],
  [
    'a prompt to a model of classes',
    sample('x', '--checkpoint', 'of-classes', '--prompt', 'a cat'),
    2,
    /^repa sample: --prompt is of a model of text, and this one is told classes; name them by --classes\.\n$/,
  ],
  [
    'a caption encoder to a model of classes',
    sample('x', '--checkpoint', 'of-classes', '--caption-encoder', 'clip'),
    2,
    /^repa sample: --caption-encoder is of a model of text, and this one is told classes; leave it out\.\n$/,
  ],
]
test.each(REFUSED)('%s is refused in one line', async (_, words, status, sentence) => {
  const result = await program.repa(...words)
  expect(result).toMatchObject({ status, stdout: '' })
  expect(result.stderr).toMatch(sentence)
  expect(await readdir(program.work)).not.toContain('x')
})
