import { appendFileSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { Dataset } from '../../src/data/dataset.ts'
import { decodeImage } from '../../src/data/image-decoding.ts'
import { openImageSource } from '../../src/data/image-sources.ts'
import { type PrepareOptions, prepareDataset } from '../../src/data/prepare.ts'
import { centerCropDhariwal } from '../../src/data/transforms.ts'
import { FolderInUse, IN_USE_FILE } from '../../src/formats/folder-in-use.ts'
import { readNpy } from '../../src/formats/npy.ts'
import { toPlanes } from '../../src/tensor/planes.ts'
import { goldenFolder, goldenSuffix, haveGolden, haveImages, imagesFolder, imagesSuffix } from '../shared-folder.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { writeTree } from '../write-tree.ts'
import { folderDigest } from './folder-digest.ts'
import { maxDifference } from './max-difference.ts'
import { blockMeans, blockMoments, meansOfBlocks, momentsOfBlocks, pictures, png, setup } from './preparing.ts'

describe('prepareDataset on real images', () => {
  test.skipIf(!haveImages).each([
    { archive: 'cifar10/test1k-jpg.zip', size: 32, images: 1000, classes: 10, third: 'bird', probe: 777 },
    { archive: 'cifar10/train2200-png-lossless.zip', size: 24, images: 2200, classes: 10, third: 'bird', probe: 1203 },
    { archive: 'trashnet/photos30-384x512.zip', size: 64, images: 30, classes: 6, third: 'metal', probe: 29 },
    { archive: 'tinyimagenet64/train20x40.zip', size: 64, images: 800, classes: 20, third: 'n02056570', probe: 472 },
  ])(`$archive at $size${imagesSuffix}`, async ({ archive, size, images, classes, third, probe }) => {
    const out = temporaryFolder()
    const path = join(imagesFolder, archive)
    const progress: number[] = []
    const info = await prepareDataset({ source: path, out, size, onProgress: ({ done }) => progress.push(done) })
    expect(info).toMatchObject({ images, skipped: [], ignored: { count: 0 } })
    expect(info.classCounts).toEqual(Array(classes).fill(images / classes))
    expect(info.classNames?.[2]).toBe(third)
    expect(progress.at(-1)).toBe(images)
    expect(progress).toEqual(progress.toSorted((a, b) => a - b))

    const dataset = await Dataset.open(out)
    expect(dataset).toMatchObject({ length: images, classes, imageSize: size, latentKind: 'pixels' })
    const source = await openImageSource(path)
    const original = source.images[probe]!
    const cropped = centerCropDhariwal(await decodeImage(await source.read(original), original.name), size)
    await source.close()
    const planes = new Uint8Array(cropped.data.length)
    toPlanes(cropped, planes)
    const sample = await dataset.read(probe, { image: true, latent: false })
    expect(sample.label).toBe(original.label)
    expect(maxDifference(sample.image!, planes)).toBe(0)
  })

  const again = `the golden set, prepared again, keeps its pixels and its dataset.json byte for byte${goldenSuffix}`
  test.skipIf(!haveGolden)(again, async () => {
    const out = temporaryFolder()
    await prepareDataset({ source: join(goldenFolder, 'repa-dataset/images'), out, size: 64 })
    const json = 'images/dataset.json'
    expect(readFileSync(join(out, json))).toEqual(readFileSync(join(goldenFolder, 'repa-dataset', json)))
    for (let i = 0; i < 6; i++) {
      const name = `images/00000/img0000000${i}.png`
      const [ours, theirs] = await Promise.all(
        [out, join(goldenFolder, 'repa-dataset')].map((root) => decodeImage(readFileSync(join(root, name)), name)),
      )
      expect(maxDifference(ours!.data, theirs!.data)).toBe(0)
    }
  })
})

describe('prepareDataset with an autoencoder', () => {
  test('writes the latents as the reference names and shapes them', async () => {
    const options = setup(pictures(11), { latents: blockMoments })
    await prepareDataset(options)
    const labels = JSON.parse(readFileSync(join(options.out, 'vae-sd/dataset.json'), 'utf8')).labels
    expect(labels[10]).toEqual(['00000/img-mean-std-00000010.npy', 2])
    const dataset = await Dataset.open(options.out)
    expect(dataset).toMatchObject({ length: 11, latentKind: 'moments', latentShape: [3, 2, 2], latentScale: 0.18215 })
    for (let i = 0; i < 11; i++) {
      const { image, latent } = await dataset.read(i, { image: true, latent: true })
      const interleaved = Uint8Array.from(image!, (_, o) => image![(o % 3) * 256 + Math.floor(o / 3)]!)
      expect(maxDifference(latent!, momentsOfBlocks(interleaved, 16))).toBe(0)
    }
  })

  test("records the scale of latents that are at a model's already", async () => {
    const options = setup(pictures(3), { latents: { ...blockMoments, latentScale: 1 } })
    await prepareDataset(options)
    expect(await Dataset.open(options.out)).toMatchObject({ latentKind: 'moments', latentScale: 1 })
    await expect(prepareDataset({ ...options, latents: blockMoments })).rejects.toThrow('holds a data set with latents')
  })

  test('of latents that are points stores and reads no deviations', async () => {
    const options = setup(pictures(3), { latents: blockMeans, flip: true })
    await prepareDataset(options)
    const file = 'vae-sd/00000/img-mean-std-00000001.npy'
    expect((await readNpy(join(options.out, file))).shape).toEqual([3, 2, 2])
    const dataset = await Dataset.open(options.out)
    const points = { latentKind: 'points', latentShape: [3, 2, 2], storedLatentShape: [3, 2, 2], latentScale: 1 }
    expect(dataset).toMatchObject(points)
    for (let i = 0; i < 3; i++) {
      const { image, latent } = await dataset.read(i, { image: true, latent: true })
      const interleaved = Uint8Array.from(image!, (_, o) => image![(o % 3) * 256 + Math.floor(o / 3)]!)
      expect(maxDifference(latent!, meansOfBlocks(interleaved, 16))).toBe(0)
    }
    const scaled = setup(pictures(3), { latents: { ...blockMeans, latentScale: 0.5 } })
    await expect(prepareDataset(scaled)).rejects.toThrow(
      "have no deviations and a scale of 0.5; expected 1, for points are stored at a model's scale.",
    )
  })

  test.each([
    [
      'the wrong length',
      async (images: readonly Uint8Array[]) => images.map(() => new Float32Array(5)),
      'of 5 floats for 4 images; 24 floats each, of shape [6,2,2], were expected',
    ],
    [
      'what is not finite',
      async (images: readonly Uint8Array[]) =>
        images.map((_, i) => new Float32Array(24).fill(i === 2 ? Number.NaN : 1)),
      "gives latents of '00000/img00000002.png' that are not finite; training on them would give nothing but NaN.",
    ],
    ['too few latents', async () => [new Float32Array(24)], 'gave 1 latents of 24 floats for 4 images'],
  ])('refuses %s', async (_, encode, message) => {
    await expect(prepareDataset(setup(pictures(5), { latents: { ...blockMoments, encode } }))).rejects.toThrow(message)
  })

  test('refuses a size that the autoencoder cannot shrink', async () => {
    await expect(prepareDataset(setup(pictures(2), { size: 20, latents: blockMoments }))).rejects.toThrow(
      "The image size 20 is not a multiple of 8, by which the autoencoder 'block-moments' shrinks it.",
    )
  })
})

describe('prepareDataset and corrupt images', () => {
  const flipped = png(20, 16, 1)
  // Inside the pixels, so that a checksum no longer fits.
  flipped[60]! ^= 1
  const damaged = {
    ...pictures(9),
    'class0/000.png': flipped,
    'class1/004.png': 'no image',
    'class2/zzz.jpg': png(20, 16, 2).subarray(0, 90),
    'class2/notes.txt': 'x',
  }

  test('skips, names and counts them; the numbers stay dense', async () => {
    const options = setup(damaged, { onCorrupt: 'skip' })
    const info = await prepareDataset(options)
    expect(info.images).toBe(7)
    expect(info.classCounts).toEqual([2, 2, 3])
    expect(info.skipped.map(({ name }) => name)).toEqual(['class0/000.png', 'class1/004.png', 'class2/zzz.jpg'])
    const reasons = [
      /^chunk IDAT at byte 33 has the checksum/,
      /^it is not a JPEG, PNG, BMP/,
      /^chunk IDAT .* truncated/,
    ]
    for (const [i, { reason }] of info.skipped.entries()) expect(reason).toMatch(reasons[i]!)
    expect(info.ignored).toEqual({ count: 1, names: ['class2/notes.txt'] })
    expect(readdirSync(join(options.out, 'images/00000'))).toEqual(
      Array.from({ length: 7 }, (_, i) => `img0000000${i}.png`),
    )
    expect([...(await Dataset.open(options.out)).labels]).toEqual([0, 0, 1, 1, 2, 2, 2])
  })

  test('stops at the first one, and goes on when they are to be skipped', async () => {
    const options = setup(damaged)
    await expect(prepareDataset(options)).rejects.toThrow(
      /'class0\/000.png'.* Replace it, or leave it out by `onCorrupt: 'skip'`: the call goes on from there\./,
    )
    await expect(Dataset.open(options.out)).rejects.toThrow('is an unfinished preparation')
    expect(await prepareDataset({ ...options, onCorrupt: 'skip' })).toMatchObject({ images: 7 })
  })

  test('fails when nothing is left', async () => {
    const options = setup({ 'a/1.png': 'x', 'b/1.png': '' }, { onCorrupt: 'skip' })
    await expect(prepareDataset(options)).rejects.toThrow('None of the 2 images of')
  })

  test('leaves out what the wide crop finds too small', async () => {
    const files = { 'a/1.png': png(40, 30, 1), 'b/1.png': png(10, 30, 2) }
    const info = await prepareDataset(setup(files, { transform: 'center-crop-wide', wideHeight: 10 }))
    expect(info.skipped).toEqual([{ name: 'b/1.png', reason: 'it is too small for the strip' }])
  })
})

describe('an interrupted preparation', () => {
  test('that never wrote a whole line starts anew', async () => {
    const options = setup(pictures(3))
    writeTree(options.out, { 'prepare-journal.jsonl': '{"sett' })
    expect(await prepareDataset(options)).toMatchObject({ images: 3 })
    writeTree(options.out, { 'prepare-journal.jsonl': '{"sett' })
    const other = { ...options, size: 8, latents: blockMoments }
    await expect(prepareDataset(other)).rejects.toThrow('holds a data set with size 16, not 8 as asked for')
  })

  test('is not continued where its journal lists other images than the source: two calls have written it', async () => {
    const options = setup({ ...pictures(5), 'class0/999.png': 'no image' })
    await expect(prepareDataset(options)).rejects.toThrow('999.png')
    const journal = join(options.out, 'prepare-journal.jsonl')
    const lines = readFileSync(journal, 'utf8').split('\n')
    expect(lines).toHaveLength(1 + 1)
    appendFileSync(journal, '{"name":"class0/000.png","label":0}\n{"name":"class0/000.png","label":0}\n')
    await expect(prepareDataset({ ...options, onCorrupt: 'skip' })).rejects.toThrow(
      `'${journal}' has 'class0/000.png' as image 1, where the source has 'class0/003.png'`,
    )
  })

  test('is not continued under other settings or with other images', async () => {
    const options = setup({ ...pictures(3), 'class0/999.png': 'no image' })
    await expect(prepareDataset(options)).rejects.toThrow('999.png')
    await expect(prepareDataset({ ...options, size: 8 })).rejects.toThrow(
      'holds an unfinished preparation with size "16", not "8" as asked for'.replaceAll('"', ''),
    )
    rmSync(join(options.source, 'class0/999.png'))
    await expect(prepareDataset(options)).rejects.toThrow('with other source images or labels')
  })
})

describe('the output folder of prepareDataset', () => {
  test('a whole set of the same settings is left as it is', async () => {
    const options = setup(pictures(4))
    const info = await prepareDataset(options)
    const before = folderDigest(options.out)
    expect(await prepareDataset(options)).toEqual(info)
    expect(folderDigest(options.out)).toEqual(before)
  })

  test('is refused to a second call while the first goes on, which adds or begins, and is given back at its end', async () => {
    const options = setup(pictures(4))
    for (const latents of ['none', blockMoments] as const) {
      let second: Promise<unknown> | undefined
      const onProgress = (): void => {
        second ??= prepareDataset({ ...options, latents }).catch((error: unknown) => error)
      }
      await prepareDataset({ ...options, latents, onProgress })
      expect(await second).toEqual(
        new Error(
          `${options.out} is in use by process ${process.pid}, which goes on; wait for its end, or choose another folder.`,
        ),
      )
      expect(readdirSync(options.out)).not.toContain(IN_USE_FILE)
      expect(await Dataset.open(options.out)).toMatchObject({ length: 4 })
    }
  })

  test('is given back where the call fails, and a whole set needs no taking', async () => {
    const options = setup({ ...pictures(2), 'class0/999.png': 'no image' })
    await expect(prepareDataset(options)).rejects.toThrow('999.png')
    expect(readdirSync(options.out)).not.toContain(IN_USE_FILE)
    rmSync(join(options.source, 'class0/999.png'))
    await expect(prepareDataset(options)).rejects.toThrow('with other source images or labels')
    expect(readdirSync(options.out)).not.toContain(IN_USE_FILE)
    const out = temporaryFolder()
    const info = await prepareDataset({ ...options, out })
    await using _ = await FolderInUse.take(out)
    expect(await prepareDataset({ ...options, out })).toEqual(info)
  })

  test('counts as empty where a killed call had taken it and made nothing yet', async () => {
    const options = setup(pictures(2))
    writeTree(options.out, { [IN_USE_FILE]: '', [`${IN_USE_FILE}.half`]: '' })
    expect(await prepareDataset(options)).toMatchObject({ images: 2 })
  })

  test('in the source is no part of it: neither a class nor other images at the next call', async () => {
    const options = setup({ ...pictures(4), 'class0/000.png': 'no image' })
    const out = join(options.source, 'data')
    await expect(prepareDataset({ ...options, out })).rejects.toThrow('000.png')
    const info = await prepareDataset({ ...options, out, onCorrupt: 'skip' })
    expect(info).toMatchObject({ images: 3, classNames: ['class0', 'class1', 'class2'], ignored: { count: 0 } })
    expect(await prepareDataset({ ...options, out, onCorrupt: 'skip' })).toEqual(info)
  })

  test.each<[string, Partial<PrepareOptions>, string]>([
    ['size', { size: 8 }, 'holds a data set with size 16, not 8 as asked for'],
    ['transform', { transform: 'none' }, 'with transform center-crop-dhariwal, not none'],
    ['images', { maxImages: 2 }, 'with other source images or labels'],
  ])('a whole set of another %s is refused', async (_, change, message) => {
    const options = setup(pictures(4))
    await prepareDataset(options)
    await expect(prepareDataset({ ...options, ...change })).rejects.toThrow(message)
  })

  test.each([
    [
      '',
      "is not a prepared data set: it has no folder 'images'. To prepare what is in it, name another folder as output.",
    ],
    [
      'images',
      "is not a prepared data set: its folder 'images' has no dataset.json. To prepare what is in it, name another",
    ],
  ])('that is the source, with pictures in its folder "%s", is refused', async (folder, message) => {
    const out = temporaryFolder()
    writeTree(join(out, folder), pictures(3))
    await expect(prepareDataset({ source: out, out, size: 16 })).rejects.toThrow(`'${out}' ${message}`)
  })

  test('a folder with anything else is refused', async () => {
    const options = setup(pictures(2))
    writeTree(options.out, { 'thesis.tex': 'x' })
    await expect(prepareDataset(options)).rejects.toThrow(
      "is not empty and holds no prepared data set (it holds 'thesis.tex')",
    )
  })

  test('a strip that is higher than the images is refused', async () => {
    await expect(prepareDataset(setup(pictures(1), { wideHeight: 17 }))).rejects.toThrow(
      'The strip height 17 is above the image size 16.',
    )
  })
})
