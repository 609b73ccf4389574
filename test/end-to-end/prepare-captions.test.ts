/** `repa prepare --captions` on real photos. */
import { existsSync } from 'node:fs'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Dataset } from '../../src/data/dataset.ts'
import { openImageSource } from '../../src/data/image-sources.ts'
import { folderDigest } from '../data/folder-digest.ts'
import { rawTar } from '../formats/raw-tar.ts'
import { imagesFolder } from '../shared-folder.ts'
import { Program } from './program.ts'

const zip = join(imagesFolder, 'trashnet/photos180-256px.zip')
const havePhotos = existsSync(zip)

let program: Program
const inWork = (...path: string[]) => join(program.work, ...path)

/** The photos, 30 of each of six classes, in the order of their names. */
let photos: { readonly name: string; readonly bytes: Uint8Array }[]

/** What is said of a photo, by its class and its number. */
const captionsOf = (name: string): string[] => {
  const [, material, number] = /^([a-z]+)(\d+)\./.exec(basename(name))!
  return [`a photo of ${material}`, `${material} no. ${number} on a white table`]
}

/** COCO's annotations of the photos, whose names are without folders, and of one that is not there. */
function cocoOfPhotos(): object {
  const images = [...photos.map(({ name }, id) => ({ id, file_name: basename(name) })), { id: 999, file_name: 'x.jpg' }]
  const annotations = photos.flatMap(({ name }, image_id) => captionsOf(name).map((caption) => ({ image_id, caption })))
  return { images, annotations: [...annotations, { image_id: 999, caption: 'x' }] }
}

/** `node prepare.mjs SOURCE OUT STEP`: kills itself in the step, where one is named. */
const SCRIPT = `
import { prepareDataset } from '../dist/data/prepare.js'

const [, , source, out, killedAt] = process.argv
const reach = (step) => step === killedAt && process.kill(process.pid, 'SIGKILL')
const encoder = {
  name: 'first', weights: undefined, width: 3, batchSize: 5,
  encode: async (images) => (reach('features'), images.map((pixels) => Uint16Array.from(pixels.subarray(0, 3)))),
}
await prepareDataset({
  source, out, size: 8, captions: 'beside', features: [encoder], featurePatch: 8,
  onProgress: ({ step, done }) => step === 'images' && done >= 64 && reach('images'),
})
`

beforeAll(async () => {
  if (!havePhotos) return
  program = await Program.build()
  const source = await openImageSource(zip)
  photos = await Promise.all(
    source.images.map(async (image) => ({ name: image.name, bytes: await source.read(image) })),
  )
  await source.close()
  for (const { name, bytes } of photos) {
    for (const folder of ['classes', 'flat']) {
      const file = inWork(folder, folder === 'flat' ? basename(name) : name)
      await mkdir(dirname(file), { recursive: true })
      await writeFile(file, bytes)
      if (folder === 'flat') await writeFile(file.replace(/\.jpg$/, '.txt'), captionsOf(name).join('\n'))
    }
  }
  const samples = photos.flatMap(({ name, bytes }) => {
    const key = basename(name, '.jpg')
    return [
      { name: `${key}.jpg`, data: bytes },
      { name: `${key}.txt`, data: captionsOf(name).join('\n') },
    ]
  })
  await writeFile(inWork('photos.tar'), rawTar(samples))
  await writeFile(inWork('prepare.mjs'), SCRIPT)
  await writeFile(inWork('coco.json'), JSON.stringify(cocoOfPhotos()))
})

afterAll(() => program?.[Symbol.asyncDispose]())

/** The captions of the photos in the order of their whole names, or of the last parts. */
const inOrder = (nameOf: (name: string) => string) =>
  photos
    .map(({ name }) => nameOf(name))
    .sort()
    .map(captionsOf)

describe.skipIf(!havePhotos)(`captions of photos${havePhotos ? '' : ' (skipped: no photos)'}`, () => {
  test("of COCO's annotations, for class folders: the photo, its class and its captions belong together", async () => {
    const words = ['prepare', 'classes', '--out', 'coco', '--size', '64', '--captions', 'coco.json']
    const { status, stdout, stderr } = await program.repa(...words)
    expect({ status, stdout }).toEqual({ status: 0, stdout: '' })
    expect(stderr).toMatch(/^'coco\.json' has captions of 1 image that are not among these\.$/m)
    expect(stderr).toMatch(/^coco: 180 images of 64 x 64 in 6 classes; 360 captions from 'coco\.json'$/m)
    const dataset = await Dataset.open(inWork('coco'))
    expect(dataset.captions).toEqual(inOrder((name) => name))
    for (const [i, [caption]] of dataset.captions!.entries()) {
      expect(caption).toBe(`a photo of ${dataset.classNames![dataset.labels[i]!]}`)
    }
    // Nothing else of the set is another than without captions.
    expect(await program.repa('prepare', 'classes', '--out', 'plain', '--size', '64', '--quiet')).toMatchObject({
      status: 0,
    })
    const { 'captions.json': _, 'dataset-info.json': __, ...files } = folderDigest(inWork('coco'))
    const { 'dataset-info.json': ___, ...plain } = folderDigest(inWork('plain'))
    expect(files).toEqual(plain)
    // And added to the same images later they are the same.
    const added = ['prepare', 'classes', '--out', 'plain', '--size', '64', '--captions', 'coco.json', '--quiet']
    expect(await program.repa(...added)).toMatchObject({ status: 0, stderr: '' })
    expect(folderDigest(inWork('plain'))).toEqual(folderDigest(inWork('coco')))
  })

  test.each(['flat', 'photos.tar'])('beside the images of %s, which have no classes', async (source) => {
    const out = `from-${source}`
    const { status, stdout, stderr } = await program.repa(
      ...['prepare', source, '--out', out, '--size', '32', '--captions', 'beside', '--features', 'hog', '--json'],
    )
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
    expect(JSON.parse(stdout)).toMatchObject({
      out,
      images: 180,
      classCounts: [180],
      ignored: { count: 0, names: [] },
      captions: { source: 'the .txt files beside the images', count: 360, withoutCaption: 0 },
      notes: [
        `'${source}' has no class folders: every image is of class 0, as with \`unlabelled\`; captions need no labels.`,
      ],
    })
    const { captions } = await Dataset.open(inWork(out))
    // A tar is taken in its own order, which is that of the whole names.
    expect(captions).toEqual(
      source === 'flat' ? inOrder((name) => basename(name)) : photos.map(({ name }) => captionsOf(name)),
    )
  })

  test.each(['images', 'features'])('killed at its %s, goes on to the files of an unbroken one', async (step) => {
    const run = (out: string, killedAt = 'none') => program.node('prepare.mjs', 'flat', out, killedAt).ended
    const [out, unbroken] = [`killed-at-${step}`, `unbroken-${step}`]
    expect(await run(unbroken)).toMatchObject({ status: 0, stderr: '' })
    expect(await run(out, step)).toMatchObject({ signal: 'SIGKILL', stderr: '' })
    expect(existsSync(inWork(out, 'prepare-journal.jsonl'))).toBe(true)
    expect(existsSync(inWork(out, 'captions.json'))).toBe(step === 'features')
    expect(await run(out)).toMatchObject({ status: 0, stderr: '' })
    expect(folderDigest(inWork(out))).toEqual(folderDigest(inWork(unbroken)))
  })

  test('of two processes are those of one', async () => {
    const words = [
      'prepare',
      'flat',
      '--size',
      '32',
      '--captions',
      'beside',
      '--features',
      'hog',
      '--device',
      'cpu',
      '--quiet',
    ]
    expect(await program.repa(...words, '--out', 'one')).toMatchObject({ status: 0, stderr: '' })
    expect(await program.repa(...words, '--out', 'two', '--processes', '2')).toMatchObject({ status: 0, stderr: '' })
    expect(folderDigest(inWork('two'))).toEqual(folderDigest(inWork('one')))
  })

  test('missing ones are refused in one line, or said', async () => {
    const rows = photos
      .slice(2)
      .map(({ name }) => JSON.stringify({ file_name: basename(name), text: captionsOf(name) }))
    await writeFile(inWork('few.jsonl'), rows.join('\n'))
    const words = ['prepare', 'classes', '--out', 'few', '--size', '32', '--captions', 'few.jsonl']
    const [first, second] = photos.map(({ name }) => name)
    expect(await program.repa(...words)).toMatchObject({
      status: 1,
      stderr:
        `repa prepare: 2 of the 180 images of 'classes' have no caption in 'few.jsonl': '${first}', '${second}'. ` +
        'Give them one, or accept them by --allow-missing-captions: they then train on the empty caption.\n',
    })
    expect(existsSync(inWork('few'))).toBe(false)
    const allowed = await program.repa(...words, '--allow-missing-captions')
    expect(allowed.status).toBe(0)
    expect(allowed.stderr).toMatch(/^warning: 2 images have no caption: they train on the empty one\.$/m)
    expect(allowed.stderr).toMatch(/^few: 180 images of 32 x 32 in 6 classes; 356 captions from 'few\.jsonl'$/m)
    expect(JSON.parse(await readFile(inWork('few/captions.json'), 'utf8')).captions[0]).toEqual([
      '00000/img00000000.png',
      [],
    ])
  })

  test.each<[string, readonly string[], RegExp]>([
    [
      'an archive to write',
      ['--out', 'x.zip', '--captions', 'beside'],
      /^repa prepare: 'x\.zip' is an archive of one step's .*\n$/,
    ],
    [
      'a file that is not there',
      ['--out', 'x', '--captions', 'no.json'],
      /^repa prepare: Cannot read no\.json: there is no such file .*\n$/,
    ],
    [
      'a column without captions',
      ['--out', 'x', '--caption-column', 'text'],
      /^repa prepare: --caption-column is of captions, .*\n$/,
    ],
    [
      'captions where there are none',
      ['--out', 'x', '--captions', 'beside'],
      /^repa prepare: None of the 180 images of 'classes' .*\n$/,
    ],
  ])('%s is refused in one line', async (_, words, sentence) => {
    const result = await program.repa('prepare', 'classes', '--size', '32', ...words)
    expect(result).toMatchObject({ status: 1, stdout: '' })
    expect(result.stderr).toMatch(sentence)
    expect(existsSync(inWork('x'))).toBe(false)
  })
})
