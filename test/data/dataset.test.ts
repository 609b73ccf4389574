import { readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { AnotherVersionError } from '../../src/configuration/stored.ts'
import { Dataset } from '../../src/data/dataset.ts'
import { encodePng } from '../../src/data/png.ts'
import { encodeNpy } from '../../src/formats/npy.ts'
import { elementCount } from '../../src/tensor/dtype.ts'
import { elementAt, hostFloat32, toFloat32 } from '../../src/tensor/host-tensor.ts'
import { goldenFolder, goldenSuffix, haveGolden } from '../shared-folder.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { writeTree } from '../write-tree.ts'
import { goldenTensors } from './golden.ts'
import { maxDifference } from './max-difference.ts'
import { syntheticImage } from './synthetic-image.ts'
import { tinyDataset } from './tiny-dataset.ts'

function png(size: number, seed = 1, height = size): Uint8Array {
  return encodePng(syntheticImage(size, height, seed).data, size, height, 3)
}

function npy(shape: readonly number[], value = 0): Uint8Array {
  return encodeNpy(hostFloat32(new Float32Array(elementCount(shape)).fill(value), shape))
}

function npyBytes(data: Uint8Array, shape: readonly number[]): Uint8Array {
  return encodeNpy({ dtype: 'u8', shape, data })
}

function json(labels: readonly (readonly [string, unknown])[] | null): string {
  return JSON.stringify({ labels })
}

/** A whole set of three samples with latents; the cases change or remove some of its files. */
const WHOLE: Readonly<Record<string, Uint8Array | string>> = {
  'images/00000/img00000000.png': png(8, 1),
  'images/00000/img00000001.png': png(8, 2),
  'images/00000/img00000002.png': png(8, 3),
  'vae-sd/00000/img-mean-std-00000000.npy': npy([4, 2, 2], 0),
  'vae-sd/00000/img-mean-std-00000001.npy': npy([4, 2, 2], 1),
  'vae-sd/00000/img-mean-std-00000002.npy': npy([4, 2, 2], 2),
  'vae-sd/dataset.json': json([
    ['00000/img-mean-std-00000002.npy', 4],
    ['00000/img-mean-std-00000000.npy', 0],
    ['00000/img-mean-std-00000001.npy', 1],
  ]),
}

const PIXELS_ONLY = {
  ...Object.fromEntries(Object.entries(WHOLE).filter(([name]) => name.startsWith('images/'))),
  'images/dataset.json': json([
    ['00000/img00000000.png', 0],
    ['00000/img00000001.png', 0],
    ['00000/img00000002.png', 1],
  ]),
}

function write(files: Readonly<Record<string, Uint8Array | string>>, without: readonly string[] = []): string {
  const folder = temporaryFolder()
  writeTree(folder, files)
  for (const name of without) rmSync(join(folder, name), { recursive: true })
  return folder
}

const expected = await goldenTensors('repa-dataset/expected.safetensors')

describe.skipIf(!haveGolden)(`golden dataset.file${goldenSuffix}`, () => {
  test('Dataset reads what CustomDataset reads', async () => {
    const dataset = await Dataset.open(join(goldenFolder, 'repa-dataset'))
    expect(dataset).toMatchObject({
      length: 6,
      classes: 3,
      classNames: undefined,
      imageSize: 64,
      latentKind: 'moments',
      latentShape: [4, 8, 8],
      storedLatentShape: [8, 8, 8],
    })
    expect([...dataset.labels]).toEqual([0, 0, 1, 1, 2, 2])
    for (let i = 0; i < 6; i++) {
      const { image, latent, label } = await dataset.read(i, { image: true, latent: true })
      expect(maxDifference(image!, expected.get(`${i}.image`)!.data)).toBe(0)
      expect(maxDifference(latent!, toFloat32(expected.get(`${i}.features`)!))).toBe(0)
      expect(label).toBe(elementAt(expected.get(`${i}.label`)!, 0))
    }
  })

  test('without latents the pixels are the latent', async () => {
    const folder = temporaryFolder()
    const names = [0, 1, 2, 3, 4, 5].map((i) => `images/00000/img0000000${i}.png`)
    writeTree(
      folder,
      Object.fromEntries(
        [...names, 'images/dataset.json'].map((name) => [name, readFileSync(join(goldenFolder, 'repa-dataset', name))]),
      ),
    )
    const dataset = await Dataset.open(folder)
    expect(dataset).toMatchObject({ latentKind: 'pixels', latentShape: [3, 64, 64], storedLatentShape: [3, 64, 64] })
    const { image, latent } = await dataset.read(4, { image: false, latent: true })
    expect(image).toBeUndefined()
    const pixels = expected.get('4.image')!.data
    // Both operations rounded to float32, as torch rounds them.
    expect(
      maxDifference(
        latent!,
        Float32Array.from(pixels, (x) => Math.fround(x / 127.5) - 1),
      ),
    ).toBe(0)
  })
})

describe('Dataset.open', () => {
  test('pairs by number, whatever the order and the folders', async () => {
    const files = {
      'images/b/7.png': png(8, 7),
      'images/a/x-12.png': png(8, 12),
      'vae-sd/0012.npy': npy([4, 1, 1], 12),
      'vae-sd/deep/folder/0007.npy': npy([4, 1, 1], 7),
      'vae-sd/dataset.json': json([
        ['0012.npy', 1],
        ['deep/folder/0007.npy', 0],
      ]),
    }
    const dataset = await Dataset.open(write(files))
    expect([...dataset.labels]).toEqual([0, 1])
    for (const [i, number] of [7, 12].entries()) {
      const { image, latent } = await dataset.read(i, { image: true, latent: true })
      expect(latent![0]).toBe(number)
      expect(image![0]).toBe(syntheticImage(8, 8, number).data[0])
    }
  })

  test('takes labels from images/dataset.json where vae-sd has none', async () => {
    const files = { ...WHOLE, 'images/dataset.json': PIXELS_ONLY['images/dataset.json'] }
    const dataset = await Dataset.open(write(files, ['vae-sd/dataset.json']))
    expect([...dataset.labels]).toEqual([0, 0, 1])
  })

  test.each([[[3, 8, 8]], [[1, 3, 8, 8]]])('reads images from .npy files of shape %j', async (shape) => {
    const data = Uint8Array.from({ length: 192 }, (_, i) => i)
    const files = { 'images/0.npy': npyBytes(data, shape), 'images/dataset.json': json([['0.npy', 0]]) }
    const { image } = await (await Dataset.open(write(files))).read(0, { image: true, latent: false })
    expect([...image!]).toEqual([...data])
  })

  const latent2 = 'vae-sd/00000/img-mean-std-00000002.npy'
  test('of a newer version says that it is', async () => {
    const info = JSON.stringify({ ...JSON.parse(MIRRORED['dataset-info.json']), depth: 16 })
    const opening = Dataset.open(write({ ...MIRRORED, 'dataset-info.json': info }))
    await expect(opening).rejects.toThrow('Another version of repa-native wrote that, or somebody by hand')
    await expect(opening).rejects.toThrow(AnotherVersionError)
  })

  const image2 = 'images/00000/img00000002.png'
  test.each<[string, Record<string, Uint8Array | string>, string[], string]>([
    ['a folder that is no data set', { 'a/1.png': png(8) }, [], "has no folder 'images'. Prepare it first."],
    ['no images', { 'images/': '' }, [], 'holds no images.'],
    ['an unfinished preparation', { ...WHOLE, 'prepare-journal.jsonl': '' }, [], 'is an unfinished preparation'],
    ['no dataset.json', WHOLE, ['vae-sd/dataset.json'], "has no dataset.json, neither in 'vae-sd' nor in 'images'"],
    ['an image without latent', WHOLE, [latent2], "1 images have no latent ('00000/img00000002.png')."],
    ['a latent without image', WHOLE, [image2], "1 latents have no image ('00000/img-mean-std-00000002.npy')."],
    [
      'both',
      WHOLE,
      ['images/00000/img00000001.png', latent2],
      "1 images have no latent ('00000/img00000002.png'), and 1 latents have no image ('00000/img-mean-std-00000001.npy').",
    ],
    ['null labels', { ...PIXELS_ONLY, 'images/dataset.json': json(null) }, [], 'declares that there are no labels'],
    [
      'a null label',
      { ...PIXELS_ONLY, 'images/dataset.json': json([['00000/img00000000.png', null]]) },
      [],
      'at labels.0.1:',
    ],
    [
      'a negative label',
      { ...PIXELS_ONLY, 'images/dataset.json': json([['00000/img00000000.png', -1]]) },
      [],
      'at labels.0.1:',
    ],
    [
      'labels for too few',
      { ...PIXELS_ONLY, 'images/dataset.json': json([['00000/img00000001.png', 0]]) },
      [],
      "gives no label for 2 images: '00000/img00000000.png', '00000/img00000002.png'.",
    ],
    [
      'two labels for one number',
      {
        ...PIXELS_ONLY,
        'images/dataset.json': json([
          ['00000/img00000001.png', 0],
          ['img1.png', 3],
        ]),
      },
      [],
      "gives 'img1.png' the label 3 and '00000/img00000001.png', which is the same image, the label 0.",
    ],
    ['labels for too many', PIXELS_ONLY, [image2], "names 1 files that are not there: '00000/img00000002.png'."],
    ['a name without number', { ...PIXELS_ONLY, 'images/x.png': png(8) }, [], "'x.png' in"],
    ['a number twice', { ...PIXELS_ONLY, 'images/2.png': png(8) }, [], 'has two files of number 2'],
    [
      'an image that is not square',
      { ...PIXELS_ONLY, 'images/00000/img00000000.png': png(8, 1, 6) },
      [],
      'is 8×6 pixels; the images must be square',
    ],
    [
      'latents of a wrong rank',
      { ...WHOLE, 'vae-sd/00000/img-mean-std-00000000.npy': npy([4, 4]) },
      [],
      'is f32 of shape [4,4]; f32 of shape [2C, h, w]',
    ],
    [
      'an odd number of channels',
      { ...WHOLE, 'vae-sd/00000/img-mean-std-00000000.npy': npy([5, 2, 2]) },
      [],
      'is f32 of shape [5,2,2]; f32 of shape [2C, h, w]',
    ],
    [
      'latents by themselves, without deviations',
      { ...WHOLE, 'vae-sd/00000/img-mean-std-00000000.npy': npy([4, 2, 2], -0.5) },
      [],
      'of shape [4,2,2] has -0.5 among the deviations, its second half of channels. Latents by themselves, and means with log-variances, are not read as [2C, h, w]',
    ],
    [
      'latents of doubles',
      {
        ...WHOLE,
        'vae-sd/00000/img-mean-std-00000000.npy': encodeNpy({
          dtype: 'f64',
          shape: [2, 1, 1],
          data: new Uint8Array(16),
        }),
      },
      [],
      'is f64 of shape [2,1,1]; f32 of shape [2C, h, w]',
    ],
    [
      'float images',
      { 'images/0.npy': npy([3, 8, 8]), 'images/dataset.json': json([['0.npy', 0]]) },
      [],
      'is f32 of shape [3,8,8]; u8 of shape [3, H, W] was expected',
    ],
    [
      'a damaged dataset-info.json',
      { ...PIXELS_ONLY, 'dataset-info.json': '{"format":"other"}' },
      [],
      'dataset-info.json: format is "other": expected "repa-native-dataset-1"',
    ],
    [
      'a dataset-info.json that is no JSON',
      { ...PIXELS_ONLY, 'dataset-info.json': '{"format":' },
      [],
      'dataset-info.json is not JSON',
    ],
  ])('refuses %s', async (_, files, without, message) => {
    await expect(Dataset.open(write(files, without))).rejects.toThrow(message)
  })

  const MIRRORED = {
    ...WHOLE,
    ...Object.fromEntries([0, 1, 2].map((i) => [`vae-sd-flip/00000/img-mean-std-0000000${i}.npy`, npy([4, 2, 2], i)])),
    'dataset-info.json': JSON.stringify({
      format: 'repa-native-dataset-1',
      source: 'x',
      images: 3,
      classCounts: [1, 1, 0, 0, 1],
      skipped: [],
      notes: [],
      ignored: { count: 0, names: [] },
      latents: { encoder: 'kl', shape: [4, 2, 2] },
      flip: true,
    }),
  }
  test.each([
    [[], undefined],
    [
      ['vae-sd-flip/00000/img-mean-std-00000001.npy'],
      "lacks 1 of the mirror images' latents in 'vae-sd-flip' ('00000/img-mean-std-00000001.npy'), of which its dataset-info.json speaks",
    ],
    [['vae-sd-flip'], "lacks 3 of the mirror images' latents in 'vae-sd-flip'"],
    [['vae-sd'], "has no folder 'vae-sd', of which its dataset-info.json speaks; copy it again or prepare it anew."],
  ])("has its mirror images' latents, without %j", async (without, message) => {
    const opened = Dataset.open(write(MIRRORED, without))
    if (message === undefined) expect(await opened).toMatchObject({ flip: true })
    else await expect(opened).rejects.toThrow(message)
  })

  const info = (classNames: readonly string[]): string =>
    JSON.stringify({
      format: 'repa-native-dataset-1',
      source: 'x',
      settings: { listing: '', size: 8, transform: 'none', wideHeight: 8 },
      images: 3,
      classNames,
      classCounts: [2, 1],
      skipped: [],
      ignored: { count: 0, names: [] },
      notes: [],
    })

  test('the declared class names count, though the last have no image', async () => {
    const dataset = await Dataset.open(write({ ...PIXELS_ONLY, 'dataset-info.json': info(['a', 'b', 'c']) }))
    expect(dataset).toMatchObject({ classes: 3, classNames: ['a', 'b', 'c'] })
  })

  test('refuses a label beyond the declared class names', async () => {
    await expect(Dataset.open(write({ ...PIXELS_ONLY, 'dataset-info.json': info(['a']) }))).rejects.toThrow(
      "gives '00000/img00000002.png' the label 1; there are 1 classes.",
    )
  })
})

test.each([
  [4, undefined],
  [16, 'states the scale of its latents, which have 16 channels: they are taken times 0.18215'],
])('of latents of %d channels by another tool it says: %s', async (channels, words) => {
  const data = await Dataset.open(await tinyDataset(2, temporaryFolder(), channels))
  expect(data.latentShape).toEqual([channels, 8, 8])
  if (words === undefined) expect(data.notice).toBeUndefined()
  else expect(data.notice).toContain(words)
})

describe('Dataset.read', () => {
  const image2 = 'images/00000/img00000002.png'
  const latent2 = 'vae-sd/00000/img-mean-std-00000002.npy'
  test.each<[string, Record<string, Uint8Array | string>, string]>([
    ['another size', { [image2]: png(4) }, 'is 4×4 pixels; the first of the set is 8×8.'],
    ['a damaged image', { [image2]: png(8).subarray(0, 90) }, `${image2}': chunk IDAT at byte 33 is truncated`],
    [
      'another latent shape',
      { [latent2]: npy([4, 2, 3]) },
      `${latent2}' is f32 of shape [4,2,3]; the set holds f32 of shape [4,2,2].`,
    ],
    [
      'a latent of bytes',
      { [latent2]: npyBytes(new Uint8Array(16), [4, 2, 2]) },
      'is u8 of shape [4,2,2]; the set holds f32 of shape [4,2,2].',
    ],
    ['a torn latent', { [latent2]: npy([4, 2, 2]).subarray(0, -4) }, `${latent2}: the array is truncated: 4 bytes`],
  ])('refuses %s and names the file', async (_, change, message) => {
    const dataset = await Dataset.open(write({ ...WHOLE, ...change }))
    await dataset.read(1, { image: true, latent: true })
    await expect(dataset.read(2, { image: true, latent: true })).rejects.toThrow(message)
  })

  test('reads only what is wanted', async () => {
    const dataset = await Dataset.open(write({ ...WHOLE, [image2]: 'damaged' }))
    expect(await dataset.read(2, { image: false, latent: true })).toMatchObject({ index: 2, label: 4 })
    expect(await dataset.read(2, { image: false, latent: false })).toEqual({ index: 2, label: 4 })
  })

  test.each([-1, 3, 0.5])('refuses the index %d', async (index) => {
    const dataset = await Dataset.open(write(WHOLE))
    await expect(dataset.read(index, { image: true, latent: true })).rejects.toThrow(`There is no sample ${index}`)
  })
})
