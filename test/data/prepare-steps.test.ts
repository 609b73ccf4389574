import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { cp } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { Dataset } from '../../src/data/dataset.ts'
import { type LatentEncoder, statisticsDigest } from '../../src/data/latent-encoder.ts'
import { Loader } from '../../src/data/loader.ts'
import { mirror } from '../../src/data/mirror.ts'
import { type PrepareOptions, prepareDataset } from '../../src/data/prepare.ts'
import type { PrepareStep } from '../../src/data/prepare-progress.ts'
import { ZipFile } from '../../src/formats/zip-reader.ts'
import { float16ToFloat32 } from '../../src/tensor/float16.ts'
import { hostFloat32 } from '../../src/tensor/host-tensor.ts'
import { interleaved } from '../../src/tensor/planes.ts'
import { writeNpy } from '../formats/write-npy.ts'
import { goldenFolder, goldenSuffix, haveGolden } from '../shared-folder.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { folderDigest } from './folder-digest.ts'
import { blockMoments, meansOfTokens, momentsOfBlocks, pictures, setup, tokenMeans } from './preparing.ts'

/** 16-pixel images, latents of 2 × 2, tokens of 1 × 1. */
const ALL = { latents: blockMoments, features: [tokenMeans], flip: true } satisfies Partial<PrepareOptions>

describe('the steps of prepareDataset', () => {
  test('one call or one for each step, on the folder or its images: the same files', async () => {
    const together = setup(pictures(11), ALL)
    const info = await prepareDataset(together)
    const { latents, features, flip, ...images } = together
    const apart = { ...images, out: `${together.out}-apart` }
    expect(await prepareDataset(apart)).not.toHaveProperty('latents')
    await prepareDataset({ ...apart, latents, flip })
    await expect(prepareDataset({ ...apart, source: apart.out, features })).resolves.toEqual(info)
    expect(folderDigest(apart.out)).toEqual(folderDigest(together.out))
    expect(
      Object.keys(folderDigest(apart.out))
        .map((name) => name.replace(/\/.*/, ''))
        .sort(),
    ).toEqual([
      'dataset-info.json',
      ...Array(2).fill('features'),
      ...Array(12).fill('images'),
      ...Array(12).fill('vae-sd'),
      ...Array(11).fill('vae-sd-flip'),
    ])
    // Whoever asks for less gets what is there.
    expect(await prepareDataset(apart)).toEqual(info)
    expect(await prepareDataset({ ...apart, source: join(apart.out, 'images') })).toEqual(info)
  })

  test('every part is the encoders’ of the image and of its mirror image', async () => {
    const options = setup(pictures(11), { ...ALL, featurePatch: 1 })
    await prepareDataset(options)
    const dataset = await Dataset.open(options.out)
    expect(dataset).toMatchObject({ flip: true, latentShape: [3, 2, 2] })
    await using store = await dataset.openFeatures(dataset.features[0]!)
    for (let index = 0; index < 11; index++) {
      const { image } = await dataset.read(index, { image: true, latent: false })
      for (const flipped of [false, true]) {
        const pixels = flipped ? mirror(interleaved(image!, 256), 16, 3) : interleaved(image!, 256)
        const target = { image: new Uint8Array(768), latent: new Float32Array(24), flipped }
        await dataset.readInto(index, target)
        expect(interleaved(target.image, 256)).toEqual(pixels)
        expect(target.latent).toEqual(momentsOfBlocks(pixels, 16))
        const features = new Uint8Array(store.imageBytes)
        await store.readInto(index, flipped, features)
        expect(new Uint16Array(features.buffer)).toEqual(meansOfTokens(pixels, 16, [2, 2]))
      }
    }
  })

  test('features that are floats are the same as their bits', async () => {
    const floats = async (...[images, size, grid]: Parameters<typeof tokenMeans.encode>) =>
      images.map((pixels) => float16ToFloat32(meansOfTokens(pixels, size, grid)))
    const digests = []
    for (const encode of [tokenMeans.encode, floats]) {
      const options = setup(pictures(5), { features: [{ ...tokenMeans, encode }] })
      await prepareDataset(options)
      digests.push(folderDigest(join(options.out, 'features')))
    }
    expect(digests[1]).toEqual(digests[0])
  })

  test('mirror images are added to what has none, where all encoders are named', async () => {
    const options = setup(pictures(7), { ...ALL, flip: false })
    await prepareDataset(options)
    const { features, ...without } = options
    await expect(prepareDataset({ ...without, flip: true })).rejects.toThrow(
      'holds what was encoded without mirror images; to add those, name token-means again.',
    )
    await prepareDataset({ ...options, flip: true })
    const whole = { ...options, out: `${options.out}-whole`, flip: true }
    await prepareDataset(whole)
    expect(folderDigest(options.out)).toEqual(folderDigest(whole.out))
    expect(features).toHaveLength(1)
  })

  test('pixels as latents need nothing of their mirror images but the leave to use them', async () => {
    const options = setup(pictures(3), { flip: true })
    expect(await prepareDataset(options)).toMatchObject({ flip: true })
    expect(readdirSync(options.out).sort()).toEqual(['dataset-info.json', 'images'])
    const dataset = await Dataset.open(options.out)
    const { image, latent } = await dataset.read(1, { image: true, latent: true })
    const target = { image: new Uint8Array(768), latent: new Float32Array(768), flipped: true }
    await dataset.readInto(1, target)
    expect(target.image).toEqual(mirror(image!, 16, 1))
    expect(target.latent[0]).toBe(latent![15])
  })

  test.each<[string, Partial<PrepareOptions>, string]>([
    [
      'latents',
      { latents: { ...blockMoments, name: 'other' } },
      'latents {"encoder":"block-moments","shape":[6,2,2],"scale":0.18215}, not {"encoder":"other"',
    ],
    [
      'features',
      { features: [{ ...tokenMeans, weights: undefined }] },
      'holds a data set with features {"encoder":"token-means","weights":"abab',
    ],
  ])('other %s than those that are there are refused', async (_, change, message) => {
    const options = setup(pictures(2), ALL)
    await prepareDataset(options)
    await expect(prepareDataset({ ...options, ...change })).rejects.toThrow(message)
  })

  test.each<[string, Partial<PrepareOptions>, string]>([
    [
      'a patch that does not fit',
      { featurePatch: 3 },
      'A patch of 3 does not divide latents of 2 × 2; choose another by `featurePatch`.',
    ],
    [
      'too few features',
      { features: [{ ...tokenMeans, encode: async () => [] }] },
      "The encoder 'token-means' gave 0 features",
    ],
    [
      'features beyond float16',
      { features: [{ ...tokenMeans, encode: async (images) => images.map(() => Uint16Array.of(1, 2, 3, 0x7c00)) }] },
      "gives features of '00000/img00000000.png' that are not finite or beyond float16's 65504",
    ],
    [
      'floats beyond float16',
      { features: [{ ...tokenMeans, encode: async (images) => images.map(() => Float32Array.of(1, 2, 3, 7e4)) }] },
      "gives features of '00000/img00000000.png' that are not finite or beyond float16's 65504",
    ],
    [
      'features as something else',
      { features: [{ ...tokenMeans, encode: async (images) => images.map(() => [1, 2, 3, 4]) as never }] },
      "The encoder 'token-means' gave features as Array; Float32Array, or Uint16Array with the bits of float16, was expected.",
    ],
    [
      'an encoder named twice',
      { features: [tokenMeans, { ...tokenMeans, weights: 'cd'.repeat(32) }] },
      "The encoder 'token-means' is named twice; its features are kept once.",
    ],
    [
      'an archive with features',
      { out: '/nowhere/x.zip' },
      "is an archive of one step's files, as the reference has it",
    ],
  ])('refuses %s', async (_, change, message) => {
    await expect(prepareDataset(setup(pictures(3), { ...ALL, ...change }))).rejects.toThrow(message)
  })

  test('how much the features take is said first, and refused where there is no room', async () => {
    const notices: string[] = []
    await prepareDataset(setup(pictures(4), { ...ALL, onNotice: (sentence) => notices.push(sentence) }))
    expect(notices).toEqual([
      expect.stringMatching(
        /^The features of 4 images and their mirror images \(token-means 1 tokens × 4 × 2 bytes\) take 0\.00 GB in '.*\/features'; .* GB are free there\.$/,
      ),
    ])
    const wide = { ...tokenMeans, width: 2 ** 45, encode: async () => [] }
    await expect(prepareDataset(setup(pictures(4), { features: [wide] }))).rejects.toThrow(
      /take 4503599\.6 GB in '.*', where .* GB are free\. Free some space, or train without caching them\./,
    )
  })
})

describe('latents of an autoencoder that tells its weights', () => {
  const [OURS, OTHERS] = ['ab'.repeat(32), 'cd'.repeat(32)]
  const ours: LatentEncoder = { ...blockMoments, weights: OURS }
  /** 32-pixel images, latents of 4 × 4. */
  const asked = (latents: LatentEncoder, more: Partial<PrepareOptions> = {}) =>
    setup(pictures(11), { latents, size: 32, ...more })

  /** Ended by a signal after the first batch of latents. */
  async function interrupt(options: PrepareOptions): Promise<void> {
    const controller = new AbortController()
    const onProgress: PrepareOptions['onProgress'] = ({ step, done }) => {
      if (step === 'latents' && done > 0) controller.abort(new Error('interrupted'))
    }
    await expect(prepareDataset({ ...options, onProgress, signal: controller.signal })).rejects.toThrow('interrupted')
  }

  test.each<[string, LatentEncoder, string]>([
    [
      'weights',
      { ...ours, weights: OTHERS },
      "latents by other weights of 'block-moments' (SHA-256 abababababab…, and as asked for cdcdcdcdcdcd…).",
    ],
    [
      'tiles',
      { ...ours, tile: 2 },
      'latents {"encoder":"block-moments","shape":[6,4,4],"scale":0.18215}, not {"encoder":"block-moments","tile":2,"shape":[6,4,4],"scale":0.18215} as asked for.',
    ],
    [
      'weights that nobody tells',
      blockMoments,
      "latents by other weights of 'block-moments' (SHA-256 abababababab…, and as asked for none told).",
    ],
  ])('are not mixed with those of other %s of its name', async (_, other, difference) => {
    const options = asked(ours)
    await interrupt(options)
    const unfinished = folderDigest(options.out)
    await expect(prepareDataset({ ...options, latents: other })).rejects.toThrow(
      `'${options.out}' holds an unfinished preparation with ${difference} Repeat the call that began it`,
    )
    expect(folderDigest(options.out)).toEqual(unfinished)
    const info = await prepareDataset(options)
    expect(info.latents).toEqual({ encoder: 'block-moments', weights: OURS, shape: [6, 4, 4], scale: 0.18215 })
    const whole = folderDigest(options.out)
    for (const flip of [false, true]) {
      await expect(prepareDataset({ ...options, latents: other, flip })).rejects.toThrow(
        `'${options.out}' holds a data set with ${difference} Choose another folder`,
      )
    }
    expect(folderDigest(options.out)).toEqual(whole)
    await expect(prepareDataset({ ...options, flip: true })).resolves.toEqual({ ...info, flip: true })
  })

  test('are recorded with the statistics that standardise them, where it is certain that all are by them', async () => {
    const statistics = { mean: new Float32Array(3), std: new Float32Array(3).fill(2) }
    const digest = statisticsDigest(statistics)
    const standardised = (latents: LatentEncoder): LatentEncoder => Object.assign({ ...latents }, { statistics })
    const options = asked(standardised(ours))
    const info = await prepareDataset(options)
    expect(info.latentStatistics).toBe(digest)
    expect((await prepareDataset(asked(ours))).latentStatistics).toBeUndefined()
    // A set of an older version: its weights are compared, and were read with the statistics.
    const file = join(options.out, 'dataset-info.json')
    const { latentStatistics: _, ...older } = info
    writeFileSync(file, JSON.stringify(older))
    expect((await prepareDataset(options)).latentStatistics).toBeUndefined()
    expect((await prepareDataset({ ...options, flip: true })).latentStatistics).toBe(digest)
    // Begun by what nothing tells from another.
    const begun = asked(blockMoments)
    await interrupt(begun)
    const mixed = await prepareDataset({ ...begun, latents: standardised(ours) })
    expect(mixed.latentStatistics).toBeUndefined()
  })

  test.each([
    [4, []],
    [2, [expect.stringMatching(/^Images are encoded in blended tiles of 2 latent elements, .*: not exactly/)]],
  ])('tiles of %i are told and said where its latents are wider', async (tile, notices) => {
    const said: string[] = []
    const options = asked({ ...ours, tile }, { onNotice: (sentence) => void said.push(sentence) })
    const info = await prepareDataset(options)
    expect(said).toEqual(notices)
    expect(info.latents!.tile).toBe(notices.length > 0 ? tile : undefined)
  })

  test('tiles as wide as its latents are none', async () => {
    const options = asked({ ...ours, tile: 4 })
    const info = await prepareDataset(options)
    expect(info.latents).not.toHaveProperty('tile')
    expect(await prepareDataset({ ...options, latents: ours })).toEqual(info)
  })

  test('are told from what an older version recorded by name alone in no other way, and that is said', async () => {
    const said: string[] = []
    const onNotice = (sentence: string): void => void said.push(sentence)
    const options = asked(blockMoments, { onNotice })
    await interrupt(options)
    const notice = `'${options.out}' records the autoencoder of its latents by name alone, 'block-moments': that of now is taken to be the same, and whether its weights are cannot be told.`
    const told = { ...options, latents: { ...ours, tile: 2 } }
    const info = await prepareDataset(told)
    const tiles = expect.stringContaining('blended tiles of 2')
    expect(said).toEqual([notice, tiles])
    // What is unknown of a part stays so of the whole.
    expect(info.latents).toEqual({ encoder: 'block-moments', shape: [6, 4, 4], scale: 0.18215 })
    expect(await prepareDataset(told)).toEqual(info)
    expect(await prepareDataset({ ...told, flip: true })).toEqual({ ...info, flip: true })
    expect(said).toEqual([notice, tiles, notice, notice, tiles])
    await expect(prepareDataset({ ...told, latents: { ...ours, name: 'other' } })).rejects.toThrow(
      'holds a data set with latents {"encoder":"block-moments"',
    )
    await prepareDataset({ ...options, flip: true })
    expect(said).toHaveLength(5)
  })
})

describe('features of a set whose latents another tool made', () => {
  /** Latents of 8 × 8, of which nothing but their files tells. */
  async function others(): Promise<PrepareOptions> {
    const options = setup(pictures(3), { latents: blockMoments, size: 64 })
    await prepareDataset(options)
    rmSync(join(options.out, 'dataset-info.json'))
    return { source: options.out, out: options.out, features: [tokenMeans] }
  }

  test('are on the grid of these latents, and the same call again changes nothing', async () => {
    const options = await others()
    const info = await prepareDataset(options)
    expect(info.features).toMatchObject([{ encoder: 'token-means', grid: [4, 4] }])
    const before = folderDigest(options.out)
    expect(await prepareDataset(options)).toEqual(info)
    expect(folderDigest(options.out)).toEqual(before)
  })

  test('are on as many rows and columns as these have, which need not be square', async () => {
    const options = await others()
    const latents = join(options.out, 'vae-sd/00000')
    const wide = hostFloat32(new Float32Array(192), [6, 8, 4])
    for (const name of readdirSync(latents)) await writeNpy(join(latents, name), wide)
    await expect(prepareDataset({ ...options, featurePatch: 8 })).rejects.toThrow(
      'A patch of 8 does not divide latents of 8 × 4; choose another by `featurePatch`.',
    )
    const info = await prepareDataset(options)
    expect(info.features).toMatchObject([{ encoder: 'token-means', grid: [4, 2] }])
    await using store = await (await Dataset.open(options.out)).openFeatures(info.features![0]!)
    expect(store.imageBytes).toBe(4 * 2 * tokenMeans.width * 2)
  })

  test('are so too where captions came before them', async () => {
    const { features, ...options } = await others()
    const captions = join(options.out, 'described.jsonl')
    const lines = [0, 1, 2].map((i) => JSON.stringify({ file_name: `00000/img0000000${i}.png`, text: `picture ${i}` }))
    writeFileSync(captions, lines.join('\n'))
    expect(await prepareDataset({ ...options, captions })).not.toHaveProperty('latents')
    expect(await prepareDataset({ ...options, features })).toMatchObject({ features: [{ grid: [4, 4] }] })
  })
})

describe.skipIf(!haveGolden)(`the reference's own set${goldenSuffix}`, () => {
  const golden = join(goldenFolder, 'repa-dataset')

  test('its images get latents beside them, named and labelled as its own', async () => {
    const out = temporaryFolder()
    await cp(join(golden, 'images'), join(out, 'images'), { recursive: true })
    const before = folderDigest(join(out, 'images'))
    await prepareDataset({ source: out, out, latents: blockMoments })
    expect(folderDigest(join(out, 'images'))).toEqual(before)
    expect(readFileSync(join(out, 'vae-sd/dataset.json'))).toEqual(readFileSync(join(golden, 'vae-sd/dataset.json')))
    expect(readdirSync(join(out, 'vae-sd/00000'))).toEqual(readdirSync(join(golden, 'vae-sd/00000')))
    expect(await Dataset.open(out)).toMatchObject({ length: 6, imageSize: 64, latentKind: 'moments' })
  })

  test('latents of unknown origin are not replaced', async () => {
    const out = temporaryFolder()
    await cp(golden, out, { recursive: true })
    await expect(prepareDataset({ source: out, out, size: 64, latents: blockMoments })).rejects.toThrow(
      "has latents in 'vae-sd' of which it does not say what made them. Move them away",
    )
    await prepareDataset({ source: out, out, size: 64, features: [tokenMeans] })
    expect((await Dataset.open(out)).features).toMatchObject([{ encoder: 'token-means', grid: [4, 4] }])
  })

  test('an archive of either step has its entries in the order of the reference, stored', async () => {
    const folder = temporaryFolder()
    const images = join(folder, 'images.zip')
    await prepareDataset({ source: join(golden, 'images'), out: images, size: 64 })
    const latents = join(folder, 'vae-sd.zip')
    await prepareDataset({ source: images, out: latents, size: 64, latents: blockMoments })
    for (const [path, part] of [
      [images, 'images'],
      [latents, 'vae-sd'],
    ] as const) {
      await using zip = await ZipFile.open(path)
      const names = readdirSync(join(golden, part, '00000')).map((name) => `00000/${name}`)
      expect([...zip.entries.keys()]).toEqual([...names, 'dataset.json'])
      expect([...zip.entries.values()].every(({ method }) => method === 0)).toBe(true)
      const json = Buffer.from(await zip.read('dataset.json'))
      expect(json.equals(readFileSync(join(golden, part, 'dataset.json')))).toBe(true)
    }
    expect(readdirSync(folder).sort()).toEqual(['images.zip', 'vae-sd.zip'])
    await expect(prepareDataset({ source: images, out: latents, size: 64 })).rejects.toThrow('exists already')
  })
})

describe('an interrupted preparation', () => {
  test.each<[PrepareStep, number]>([
    ['images', 64],
    ['latents', 8],
    ['features', 6],
  ])('goes on at its %s, to the same bytes as an unbroken one', async (step, least) => {
    const files = { ...pictures(150), 'class1/005.png': 'no image' }
    const options = setup(files, { ...ALL, onCorrupt: 'skip' })
    const control = { ...options, out: `${options.out}-unbroken` }
    await prepareDataset(control)

    const controller = new AbortController()
    const onProgress: PrepareOptions['onProgress'] = (progress) => {
      if (progress.step === step && progress.done >= least) controller.abort(new Error('interrupted'))
    }
    await expect(prepareDataset({ ...options, onProgress, signal: controller.signal })).rejects.toThrow('interrupted')
    expect(existsSync(join(options.out, 'images/dataset.json'))).toBe(step !== 'images')
    await expect(Dataset.open(options.out)).rejects.toThrow('is an unfinished preparation')

    // What a kill can leave: a torn journal line, files that the journal does not know yet, a half-written one.
    const journal = join(options.out, 'prepare-journal.jsonl')
    appendFileSync(journal, '{"name":"class1/0')
    if (step === 'images') writeFileSync(join(options.out, 'images/00000/img00000149.png'), 'torn')
    if (step === 'features') appendFileSync(join(options.out, 'features/token-means/00000.safetensors.partial'), 'torn')

    const first = new Map<PrepareStep, number>()
    await prepareDataset({
      ...options,
      onProgress: ({ step, done }) => {
        if (!first.has(step)) first.set(step, done)
      },
    })
    expect(first.get(step)).toBeGreaterThanOrEqual(least)
    expect(first.get(step)).toBeLessThan(150)
    expect(folderDigest(options.out)).toEqual(folderDigest(control.out))
    expect(existsSync(journal)).toBe(false)
  })

  test('leaves no half of an archive, and packs what is prepared the next time', async () => {
    const options = setup(pictures(5))
    const out = `${options.out}.zip`
    const controller = new AbortController()
    const onProgress: PrepareOptions['onProgress'] = ({ done, total }) => {
      if (done === total) setImmediate(() => controller.abort(new Error('interrupted')))
    }
    // The images' own last look at the signal is over when it aborts: it is the packing that stops.
    const stopped = prepareDataset({ ...options, out, onProgress, signal: controller.signal })
    await expect(stopped).rejects.toThrow('interrupted')
    expect(readdirSync(join(out, '..')).sort()).toEqual(['out.zip.partial', 'source'])
    expect(existsSync(`${out}.partial/prepare-journal.jsonl`)).toBe(false)
    expect(await prepareDataset({ ...options, out })).toMatchObject({ images: 5 })
    expect(readdirSync(join(out, '..')).sort()).toEqual(['out.zip', 'source'])
  })

  test.skipIf(!existsSync('/dev/full'))('a disk that is full is said in one sentence', async () => {
    const options = setup({ ...pictures(5), 'class0/zzz.png': 'no image' }, ALL)
    await expect(prepareDataset(options)).rejects.toThrow('zzz.png')
    const full = join(options.out, 'images/00000/img00000003.png')
    mkdirSync(join(full, '..'), { recursive: true })
    symlinkSync('/dev/full', full)
    await expect(prepareDataset({ ...options, onCorrupt: 'skip' })).rejects.toThrow(
      `Cannot write ${full}: the disk is full; free some space and try again (ENOSPC).`,
    )
  })
})

describe('Loader of a set with mirror images and features', () => {
  test.each([0, 2 ** 30])(
    'brings what the sample or its mirror image has, with a cache of %d bytes',
    async (cacheBytes) => {
      // Of one token the features would be the mirror image's, too.
      const options = setup(pictures(12), { ...ALL, featurePatch: 1 })
      await prepareDataset(options)
      const dataset = await Dataset.open(options.out)
      await using store = await dataset.openFeatures(dataset.features[0]!)
      const loader = new Loader(dataset, { batch: 4, seed: 3, images: true, features: [store], flip: true, cacheBytes })
      const seen = new Set<string>()
      for await (const { step, indices, images, latents, features } of loader) {
        const flips = loader.flipsOf(step)
        for (const [i, index] of indices.entries()) {
          const target = { image: new Uint8Array(768), latent: new Float32Array(24), flipped: flips[i] === 1 }
          await dataset.readInto(index, target)
          expect(images!.subarray(768 * i, 768 * (i + 1))).toEqual(target.image)
          expect(latents.subarray(24 * i, 24 * (i + 1))).toEqual(target.latent)
          const own = meansOfTokens(interleaved(target.image, 256), 16, [2, 2])
          expect(float16ToFloat32(features[0]!.subarray(16 * i, 16 * (i + 1)))).toEqual(float16ToFloat32(own))
          seen.add(`${index} ${flips[i]}`)
        }
        if (step === 40) break
      }
      // 164 draws of 24 pairs.
      expect(seen.size).toBe(24)
      const flips = Array.from({ length: 500 }, (_, step) => [...loader.flipsOf(step)]).flat()
      // Of 2,000 even draws: within five standard deviations, 22.4 each.
      expect(Math.abs(flips.reduce((sum, flip) => sum + flip, 0) - 1000)).toBeLessThan(112)
    },
  )

  test('a set without them is refused', async () => {
    const options = setup(pictures(3))
    await prepareDataset(options)
    const dataset = await Dataset.open(options.out)
    expect(() => new Loader(dataset, { batch: 1, seed: 0, images: false, flip: true })).toThrow(
      'was prepared without mirror images; prepare it with `flip`.',
    )
  })
})
