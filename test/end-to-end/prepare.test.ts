import { existsSync } from 'node:fs'
import { appendFile, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { parquetWriteBuffer } from 'hyparquet-writer'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { encodePng } from '../../src/data/png.ts'
import { readNpy } from '../../src/formats/npy.ts'
import { toFloat32 } from '../../src/tensor/host-tensor.ts'
import { folderDigest } from '../data/folder-digest.ts'
import { syntheticImage } from '../data/synthetic-image.ts'
import { rawTar } from '../formats/raw-tar.ts'
import { imagesFolder, sharedFolder } from '../shared-folder.ts'
import { Program, type Running, until } from './program.ts'
import { shapePng } from './shapes-zip.ts'

const IMAGES = 330

let program: Program
const inWork = (...path: string[]) => join(program.work, ...path)

/** WebDataset samples of three classes, 24 × 20 pixels. */
function samples(count: number): Buffer {
  return rawTar(
    Array.from({ length: count }, (_, i) => {
      const key = String(i).padStart(5, '0')
      const { data } = syntheticImage(24, 20, i + 1)
      return [
        { name: `${key}.png`, data: encodePng(data, 24, 20, 3) },
        { name: `${key}.cls`, data: String(i % 3) },
      ]
    }).flat(),
  )
}

beforeAll(async () => {
  program = await Program.build()
  const tar = samples(IMAGES)
  await writeFile(inWork('set.tar'), tar)
  await writeFile(inWork('set.tar.gz'), gzipSync(tar))
  await writeFile(inWork('prepare.mjs'), SCRIPT)
})

afterAll(() => program[Symbol.asyncDispose]())

/** All three steps, with an autoencoder and an encoder that take their time: `node prepare.mjs SOURCE OUT`. */
const SCRIPT = `
import { prepareDataset } from '../dist/data/prepare.js'

const wait = () => new Promise((resolve) => setTimeout(resolve, 2))
const hash = (pixels, i) => pixels.reduce((sum, value, at) => (Math.imul(sum, 31) + value + at * i) | 0, 7) / 2 ** 31
const latents = {
  name: 'hash', latentChannels: 1, downsampling: 8, batchSize: 4,
  encode: async (images) => (await wait(), images.map((pixels) => Float32Array.from({ length: 8 }, (_, i) => hash(pixels, i)))),
}
const encoder = {
  name: 'hash', weights: undefined, width: 3, batchSize: 5,
  encode: async (images) => (await wait(), images.map((pixels) => Uint16Array.from({ length: 3 }, (_, i) => Math.abs(hash(pixels, i)) * 1000))),
}
const [, , source, out] = process.argv
await prepareDataset({
  source, out, size: 16, latents, features: [encoder], flip: true,
  onProgress: ({ step, done }) => console.log(step + ' ' + done),
})
`

/** Progress so far: of the last line the step, and how much of it is done. */
function progressOf({ seen }: Running): [step: string, done: number] {
  const [step, done] = seen.stdout.trimEnd().split('\n').at(-1)!.split(' ')
  return [step!, Number(done)]
}

describe.each(['set.tar', 'set.tar.gz'])('a preparation of %s that is killed', (source) => {
  test('again and again, in every step, ends with the files of an unbroken one', async () => {
    const unbroken = `unbroken-${source}`
    expect(await program.node('prepare.mjs', source, unbroken).ended).toMatchObject({ status: 0, stderr: '' })
    const kills = [
      ['images', 64],
      ['images', 192],
      ['latents', 20],
      ['latents', 21],
      ['latents', 260],
      ['features', 15],
      ['features', 200],
    ] as const
    const out = `killed-${source}`
    for (const [step, least] of kills) {
      const running = program.node('prepare.mjs', source, out)
      await until(running, () => {
        const [at, done] = progressOf(running)
        return at === step && done >= least
      })
      running.child.kill('SIGKILL')
      expect(await running.ended).toMatchObject({ signal: 'SIGKILL', stderr: '' })
      expect(existsSync(inWork(out, 'prepare-journal.jsonl'))).toBe(true)
    }
    const last = program.node('prepare.mjs', source, out)
    expect(await last.ended).toMatchObject({ status: 0, stderr: '' })
    // It went on, and did not begin anew.
    expect(last.seen.stdout).not.toMatch(/^images/m)
    expect(last.seen.stdout).not.toMatch(/^latents [0-9]{1,2}$/m)
    expect(folderDigest(inWork(out))).toEqual(folderDigest(inWork(unbroken)))
  })
})

describe('repa prepare', () => {
  test('reads shards of several kinds, and says what it made', async () => {
    const parquet = parquetWriteBuffer({
      columnData: [
        { name: 'image', data: [0, 1, 2].map((i) => shapePng(i, i, 16)), type: 'BYTE_ARRAY' },
        { name: 'label', data: [0, 1, 2], type: 'INT32' },
      ],
    })
    await writeFile(inWork('shapes.parquet'), new Uint8Array(parquet))
    const words = ['prepare', 'shapes.parquet', '--out', 'shapes', '--size', '16', '--features', 'hog', '--flip']
    const { status, stdout, stderr } = await program.repa(...words)
    expect({ status, stdout }).toEqual({ status: 0, stdout: '' })
    expect(stderr).toMatch(
      /^The features of 3 images and their mirror images \(hog 16 tokens × 128 × 2 bytes\) take 0\.00 GB in 'shapes\/features'; [\d.]+ GB are free there\.$/m,
    )
    expect(stderr).toMatch(/^shapes: 3 images of 16 x 16 in 3 classes; features of hog \[4 x 4, 128\]; mirror images$/m)
    const packed = await program.repa('prepare', 'set.tar', 'set.tar', '--out', 'images.zip', '--size', '16')
    expect(packed).toMatchObject({
      status: 1,
      stderr:
        "repa prepare: Two of the archives are called 'set.tar'; name each once, or rename one, for errors to tell them apart.\n",
    })
    await writeFile(inWork('a.tar'), samples(2))
    await writeFile(inWork('b.tar'), samples(3))
    const shards = await program.repa('prepare', '{a,b}.tar', '--out', 'images.zip', '--size', '16', '--json')
    expect(JSON.parse(shards.stdout)).toMatchObject({ images: 5, source: 'a.tar and 1 more', out: 'images.zip' })
  })

  const wholeTar = samples(20)
  const CASES: readonly (readonly [string, Uint8Array | string, readonly string[], RegExp])[] = [
    [
      'cut.tar',
      wholeTar.subarray(0, wholeTar.length / 2),
      [],
      /^repa prepare: cut\.tar: the tar archive is cut off at the member "000\d\d\.(png|cls)": .* Copy or download it again\.\n$/,
    ],
    [
      'cut.tar.gz',
      gzipSync(wholeTar).subarray(0, 5000),
      [],
      /^repa prepare: cut\.tar\.gz: the tar archive is cut off at .*\n$/,
    ],
    [
      'text.parquet',
      new Uint8Array(parquetWriteBuffer({ columnData: [{ name: 'url', data: ['a'], type: 'STRING' }] })),
      [],
      /^repa prepare: text\.parquet: no column holds images .* its columns are url \(text\)\..*\n$/,
    ],
    [
      'unlabelled.tar',
      rawTar([{ name: '1.png', data: 'x' }]),
      [],
      /^repa prepare: 'unlabelled\.tar' has no class folders\. .*\n$/,
    ],
    [
      'broken.tar',
      rawTar([
        { name: '1.png', data: 'x' },
        { name: '1.cls', data: '0' },
      ]),
      [],
      /^repa prepare: Cannot read the image '1\.png': it is not a JPEG, .* --on-corrupt skip: the call goes on from there\.\n$/,
    ],
    [
      'broken.parquet',
      new Uint8Array(
        parquetWriteBuffer({
          columnData: [
            { name: 'image', data: [Uint8Array.of(1)], type: 'BYTE_ARRAY' },
            { name: 'label', data: [0], type: 'INT32' },
          ],
        }),
      ),
      [],
      /^repa prepare: .*Cannot read the image 'broken\.parquet, row 0': it is not a JPEG, .*\n$/,
    ],
    ['set.tar', '', ['--features', 'dinov2-vit-b=missing.pth'], /^repa prepare: .*missing\.pth.*\n$/],
    [
      'set.tar',
      '',
      ['--features', 'hog', '--feature-patch', '3'],
      /^repa prepare: A patch of 3 does not divide latents of 16 × 16; choose another by --feature-patch\.\n$/,
    ],
  ]
  test.each(CASES)('%s is refused in one line', async (name, bytes, words, sentence) => {
    if (bytes.length > 0) await writeFile(inWork(name), bytes)
    const result = await program.repa('prepare', name, '--out', 'refused', '--size', '16', ...words)
    expect(result).toMatchObject({ status: 1, stdout: '' })
    expect(result.stderr).toMatch(sentence)
    await program.node('-e', "fs.rmSync('refused', { recursive: true, force: true })").ended
  })
})

const taesd = join(sharedFolder, 'weights/taesd_encoder.safetensors')
const photos = join(imagesFolder, 'trashnet/photos180-256px.zip')
const haveTaesd = existsSync(taesd) && existsSync(photos)

describe.skipIf(!haveTaesd)(`latents of photos by TAESD${haveTaesd ? '' : ' (skipped: no weights and photos)'}`, () => {
  test('with the images or after them: the same files, which a model trains on', async () => {
    const words = ['--size', '64', '--max-images', '6', '--quiet', '--flip']
    const latents = ['--autoencoder', taesd, '--features', 'hog']
    expect(await program.repa('prepare', photos, '--out', 'photos', ...words, ...latents)).toMatchObject({ status: 0 })
    expect(await program.repa('prepare', photos, '--out', 'later', ...words)).toMatchObject({ status: 0 })
    expect(await program.repa('prepare', photos, '--out', 'later', ...words, ...latents)).toMatchObject({ status: 0 })
    expect(folderDigest(inWork('later'))).toEqual(folderDigest(inWork('photos')))
    const { shape, dtype, data } = await readNpy(inWork('photos/vae-sd/00000/img-mean-std-00000005.npy'))
    expect({ shape, dtype }).toEqual({ shape: [8, 8, 8], dtype: 'f32' })
    expect(data).not.toEqual((await readNpy(inWork('photos/vae-sd-flip/00000/img-mean-std-00000005.npy'))).data)
    // Its latents have no spread and are at a model's scale already.
    expect(
      toFloat32({ dtype, shape, data })
        .subarray(256)
        .every((value) => value === 0),
    ).toBe(true)
    expect(JSON.parse(await readFile(inWork('photos/dataset-info.json'), 'utf8'))).toMatchObject({
      latents: { shape: [8, 8, 8], scale: 1 },
      features: [{ encoder: 'hog', grid: [4, 4], width: 128 }],
      flip: true,
    })
    const model = MODEL.replace('"patch":4', '"patch":2')
    const trained = await train('photos', 'run-photos', '--model', model, '--steps', '2')
    expect(trained.status).toBe(0)
    expect(stepsOf(trained.stdout)).toHaveLength(2)
  })
})

const MODEL = JSON.stringify({ kind: 'SiT', depth: 2, hidden: 32, heads: 2, patch: 4 })
const train = (data: string, out: string, ...words: string[]) =>
  program.repa(
    ...['train', '--data', data, '--out', out, '--model', MODEL, '--encoder', 'hog', '--batch', '6', '--steps', '12'],
    ...['--projector-width', '16', '--checkpoint-every', '100', '--sample-every', '100', '--json', ...words],
  )

interface Step {
  readonly alignment: number
  readonly denoising: number
}

const stepsOf = (stdout: string): Step[] =>
  stdout
    .trimEnd()
    .split('\n')
    .slice(0, -1)
    .map((line) => JSON.parse(line))

describe('training on prepared features and mirror images', () => {
  beforeAll(async () => {
    const prepare = (...words: string[]) => program.repa('prepare', 'set.tar', '--size', '16', '--quiet', ...words)
    for (const words of [
      ['--out', 'plain'],
      ['--out', 'cached', '--features', 'hog'],
      ['--out', 'flipped', '--flip'],
      ['--out', 'both', '--flip', '--features', 'hog'],
    ]) {
      expect(await prepare(...words)).toMatchObject({ status: 0, stderr: '' })
    }
  })

  test.each([
    ['cached', 'plain'],
    ['both', 'flipped'],
  ])('%s learns what %s does, but for the rounding of the targets', async (cached, live) => {
    const [ours, theirs] = [await train(cached, `run-${cached}`), await train(live, `run-${live}`)]
    for (const result of [ours, theirs]) expect(result).toMatchObject({ status: 0, stderr: '' })
    const [a, b] = [stepsOf(ours.stdout), stepsOf(theirs.stdout)]
    expect(a).toHaveLength(12)
    // Each number of a target moves by 2^-11 of itself at most, so its cosine with anything by 2^-10; then training goes its way.
    expect(Math.abs(a[0]!.alignment - b[0]!.alignment)).toBeLessThan(2 ** -10)
    expect(a[0]!.denoising).toBe(b[0]!.denoising)
    expect(a[0]!.alignment).not.toBe(b[0]!.alignment)
  })

  test('mirror images are drawn: another run than without them, unless they are not wanted', async () => {
    const [plain, flipped, without] = [
      await train('plain', 'p', '--steps', '3'),
      await train('flipped', 'f', '--steps', '3'),
      await train('flipped', 'w', '--steps', '3', '--no-flip'),
    ].map(({ stdout }) => stepsOf(stdout).map(({ denoising }) => denoising))
    expect(flipped).not.toEqual(plain)
    expect(without).toEqual(plain)
    expect(JSON.parse(await readFile(inWork('f/config.json'), 'utf8')).training.flip).toBe(true)
    expect(await train('plain', 'n', '--flip')).toMatchObject({
      status: 1,
      stderr: "repa train: 'plain' was prepared without mirror images; prepare it with --flip.\n",
    })
    // Before there is a run that would have to be removed.
    expect(existsSync(inWork('n'))).toBe(false)
  })

  test('a run that is resumed draws the same', async () => {
    await train('both', 'halves', '--steps', '5')
    expect(await train('both', 'halves', '--resume')).toMatchObject({ status: 0 })
    await train('both', 'whole')
    const of = (run: string) => folderDigest(inWork(run, 'checkpoints/0000012'))
    expect({ ...of('halves'), 'state.json': '' }).toEqual({ ...of('whole'), 'state.json': '' })
  })

  test('features of another grid are said, and the encoder runs', async () => {
    const model = MODEL.replace('"patch":4', '"patch":2')
    const { status, stderr } = await train('cached', 'other', '--model', model, '--steps', '1')
    expect(status).toBe(0)
    expect(stderr).toBe(
      "warning: The features of hog in 'cached' have 4 × 4 tokens, the model 8 × 8: the encoder runs.\n",
    )
  })

  test('features that are damaged are named', async () => {
    await appendFile(inWork('cached/features/hog/00000.safetensors'), 'x')
    const { status, stderr } = await train('cached', 'damaged')
    expect(status).toBe(1)
    expect(stderr).toMatch(/^repa train: cached\/features\/hog\/00000\.safetensors: .*\n$/)
  })
})

describe('training from given weights', () => {
  test('--init takes the model and what fits of its weights; --continue takes everything', async () => {
    await program.repa('prepare', 'set.tar', '--out', 'data', '--size', '16', '--quiet')
    await train('data', 'first', '--steps', '10')
    const tuned = await program.repa(
      ...['train', '--data', 'data', '--out', 'tuned', '--init', 'first', '--batch', '6', '--steps', '2', '--json'],
    )
    expect(tuned).toMatchObject({
      status: 0,
      stderr: 'warning: Left out of first: its projectors, 6 tensors; --encoder takes them along.\n',
    })
    const [before] = stepsOf((await train('data', 'again', '--steps', '1')).stdout)
    expect(stepsOf(tuned.stdout)[0]!.denoising).toBeLessThan(before!.denoising)
    const { training } = JSON.parse(await readFile(inWork('tuned/config.json'), 'utf8'))
    expect(training).toMatchObject({ init: 'first', model: { hidden: 32, heads: 2 } })

    await writeFile(inWork('two.tar'), samples(2))
    await program.repa('prepare', 'two.tar', '--out', 'two', '--size', '16', '--quiet')
    const other = await program.repa(
      ...[
        'train',
        '--data',
        'two',
        '--out',
        'other-classes',
        '--init',
        'first',
        '--batch',
        '2',
        '--steps',
        '1',
        '--quiet',
      ],
      ...['--encoder', 'hog', '--projector-width', '8'],
    )
    expect(other).toMatchObject({ status: 0 })
    expect(other.stderr).toMatch(
      /^warning: first has no projectors of this model's shape; what it begins with is drawn anew: \d tensors\.$/m,
    )
    expect(other.stderr).toMatch(
      /^warning: first has no label table of this model's shape; what it begins with is drawn anew: 1 tensor\.$/m,
    )

    expect(await program.repa('convert', 'first/checkpoints/0000010', 'ten.pt', '--quiet')).toMatchObject({ status: 0 })
    const go = ['train', '--data', 'data', '--steps', '12', '--quiet']
    const continued = await program.repa(...go, '--out', 'continued', '--continue', 'ten.pt', '--model', MODEL)
    expect(continued).toMatchObject({ status: 0, stderr: '' })
    expect(await program.repa(...go, '--out', 'first', '--resume')).toMatchObject({ status: 0, stderr: '' })
    const of = (run: string) => folderDigest(inWork(run, 'checkpoints/0000012'))
    expect({ ...of('continued'), 'state.json': '' }).toEqual({ ...of('first'), 'state.json': '' })
    expect(await program.repa(...go, '--out', 'continued', '--continue', 'ten.pt')).toMatchObject({
      status: 1,
      stderr: 'repa train: continued already holds a run; go on with it by --resume, or choose another --out.\n',
    })
  })
})
