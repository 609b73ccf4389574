/** Processes that share a preparation, here as parts of one. */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { encodeFeatures } from '../../src/data/encode-features.ts'
import { type PrepareOptions, prepareDataset } from '../../src/data/prepare.ts'
import type { PrepareProgress } from '../../src/data/prepare-progress.ts'
import { openPreparedImages } from '../../src/data/prepared-images.ts'
import type { World } from '../../src/distributed/world.ts'
import { together } from '../distributed/together.ts'
import { folderDigest } from './folder-digest.ts'
import { blockMoments, pictures, setup, tokenMeans } from './preparing.ts'

/** 16-pixel images, latents of 2 × 2, tokens of 1 × 1; batches of 4 and of 3 images. */
const ALL = { latents: blockMoments, features: [tokenMeans], flip: true } satisfies Partial<PrepareOptions>

type Together = PrepareOptions | ((world: World) => PrepareOptions)

/** What each of so many processes says of one preparation: how many images the set has, or why there is none. */
async function prepared(size: number, options: Together): Promise<(number | string)[]> {
  const of = typeof options === 'function' ? options : () => options
  const ended = await together(size, (world) => prepareDataset({ ...of(world), world }))
  return ended.map((one) => (one.status === 'fulfilled' ? one.value.images : (one.reason as Error).message))
}

type Encoders = Required<Pick<PrepareOptions, 'latents' | 'features'>>

/** The encoders of each process, which first say what they are given. */
const encodersThat =
  (say: (step: 'latents' | 'features', rank: number, images: number) => void) =>
  ({ rank }: World): Encoders => ({
    latents: {
      ...blockMoments,
      encode: async (images, size) => {
        say('latents', rank, images.length)
        return blockMoments.encode(images, size)
      },
    },
    features: [
      {
        ...tokenMeans,
        encode: async (images, size, grid) => {
          say('features', rank, images.length)
          return tokenMeans.encode(images, size, grid)
        },
      },
    ],
  })

/** The encoders, and how many images each process has given them. */
function counted() {
  const counts = { latents: [] as number[], features: [] as number[] }
  const encoders = encodersThat((step, rank, images) => {
    counts[step][rank] = (counts[step][rank] ?? 0) + images
  })
  return { ...counts, encoders }
}

describe('processes that share a preparation', () => {
  test.each([
    // Images, processes, and how many images and mirror images each encodes to latents: batches of 4, in turn.
    [23, 2, [24, 22]],
    [23, 3, [16, 16, 14]],
    [24, 3, [16, 16, 16]],
    [9, 5, [8, 8, 2]],
    [2, 3, [4]],
  ])('leave of %d images, %d of them, the files of one', async (images, size, shares) => {
    const options = setup(pictures(images), ALL)
    const one = { ...options, out: `${options.out}-one` }
    const info = await prepareDataset(one)
    const { encoders, latents } = counted()
    const progress: PrepareProgress[] = []
    const said: string[] = []
    const ended = await together(size, (world) =>
      prepareDataset({
        ...options,
        ...encoders(world),
        world,
        onProgress: (one) => progress.push(one),
        onNotice: (sentence) => said.push(`${world.rank}: ${sentence}`),
      }),
    )
    expect(ended).toEqual(Array(size).fill({ status: 'fulfilled', value: info }))
    expect(folderDigest(options.out)).toEqual(folderDigest(one.out))
    expect(latents).toEqual(shares)
    expect(said).toEqual([expect.stringMatching(/^0: The features of /)])
    for (const step of ['latents', 'features'] as const) {
      const done = progress.filter((one) => one.step === step).map(({ done }) => done)
      expect([done[0], done.at(-1)]).toEqual([0, images])
      expect(done).toEqual(done.toSorted((a, b) => a - b))
    }
  })

  test('add to what is there, and leave it as it is where nothing is missing', async () => {
    const { latents, features, flip, ...images } = setup(pictures(11), ALL)
    const one = { ...images, latents, features, flip, out: `${images.out}-one` }
    await prepareDataset(one)
    await prepareDataset(images)
    const there = { ...images, source: images.out }
    expect(await prepared(3, { ...there, latents })).toEqual([11, 11, 11])
    expect(await prepared(2, { ...there, features })).toEqual([11, 11])
    expect(await prepared(3, { ...there, latents, features, flip })).toEqual([11, 11, 11])
    expect(folderDigest(images.out)).toEqual(folderDigest(one.out))
    const untouched = counted()
    expect(await prepared(2, (world) => ({ ...there, ...untouched.encoders(world), flip }))).toEqual([11, 11])
    expect(untouched).toMatchObject({ latents: [], features: [] })
    expect(folderDigest(images.out)).toEqual(folderDigest(one.out))
  })

  test('pack an archive of latents as one does', async () => {
    const options = setup(pictures(11), { latents: blockMoments })
    const [one, shared] = [`${options.out}-one.zip`, `${options.out}.zip`]
    await prepareDataset({ ...options, out: one })
    expect(await prepared(3, { ...options, out: shared })).toEqual([11, 11, 11])
    expect(readFileSync(shared).equals(readFileSync(one))).toBe(true)
    expect(existsSync(`${shared}.partial`)).toBe(false)
    const taken = `'${shared}' exists already; remove it or choose another name.`
    expect((await prepared(2, { ...options, out: shared }))[0]).toBe(taken)
  })

  test.each<[string, Partial<PrepareOptions>, string]>([
    ['no mirror images', { flip: false }, 'flip true, not false'],
    [
      'another autoencoder',
      { latents: { ...blockMoments, name: 'other' } },
      'latents {"encoder":"block-moments","shape":[6,2,2],"scale":0.18215}, not {"encoder":"other","shape":[6,2,2],"scale":0.18215}',
    ],
    [
      'an encoder of other weights',
      { features: [{ ...tokenMeans, weights: undefined }] },
      `features [{"encoder":"token-means","weights":"${'ab'.repeat(32)}","grid":[1,1],"width":4}], not [{"encoder":"token-means","grid":[1,1],"width":4}]`,
    ],
  ])('of which one is asked for %s are refused before anything is written', async (_, other, difference) => {
    const options = setup(pictures(5), ALL)
    const why = `process 0 prepares a set with ${difference} as asked for here; start all processes with the same command on the same files.`
    const ended = await prepared(2, ({ rank }) => ({ ...options, ...(rank === 1 && other) }))
    expect(ended).toEqual([`process 1 of 2: ${why}`, why])
    expect(existsSync(options.out)).toBe(false)
  })
})

describe('features of several files', () => {
  const encoded = async (options: PrepareOptions, world: World, signal?: AbortSignal) => {
    const images = await openPreparedImages(options.out)
    await encodeFeatures(images, options.features![0]!, {
      out: options.out,
      grid: [2, 2],
      flip: true,
      perShard: 5,
      world,
      signal,
      onProgress: () => {},
    })
  }

  test.each([
    // Files of 5, 5, 5, 5 and 3 images; of each the images as they are, and mirrored.
    [1, [46]],
    [2, [26, 20]],
    [3, [20, 16, 10]],
    [7, [10, 10, 10, 10, 6]],
  ])('are made by %d processes, each file by one', async (size, shares) => {
    const options = setup(pictures(23), { features: [tokenMeans] })
    await prepareDataset({ ...options, features: [] })
    await together(1, (world) => encoded(options, world))
    const digest = folderDigest(options.out)
    expect(Object.keys(digest).filter((name) => name.startsWith('features/'))).toHaveLength(10)

    const shared = { ...options, out: `${options.out}-shared` }
    await prepareDataset({ ...shared, features: [] })
    const { encoders, features } = counted()
    const ended = await together(size, (world) => encoded({ ...shared, ...encoders(world) }, world))
    expect(ended.map(({ status }) => status)).toEqual(Array(size).fill('fulfilled'))
    expect(folderDigest(shared.out)).toEqual(digest)
    expect(features).toEqual(shares)
  })

  test.each([
    [3, 2],
    [2, 1],
    [1, 3],
  ])('go on after %d processes were stopped, with %d', async (before, after) => {
    const options = setup(pictures(23), { features: [tokenMeans] })
    await prepareDataset({ ...options, features: [] })
    const whole = { ...options, out: `${options.out}-whole` }
    await prepareDataset({ ...whole, features: [] })
    await together(1, (world) => encoded(whole, world))

    const controller = new AbortController()
    let calls = 0
    const stopping = encodersThat(() => {
      if (++calls === 3 * before) controller.abort(new Error('interrupted'))
    })
    const stopped = await together(before, (world) =>
      encoded({ ...options, ...stopping(world) }, world, controller.signal),
    )
    expect(stopped.map(({ status }) => status)).toEqual(Array(before).fill('rejected'))
    const left = counted()
    await together(after, (world) => encoded({ ...options, ...left.encoders(world) }, world))
    expect(folderDigest(options.out)).toEqual(folderDigest(whole.out))
    expect(left.features.reduce((sum, images) => sum + images, 0)).toBeLessThan(46 - 6)
  })
})

describe('a shared preparation that ends early', () => {
  const IMAGES = 50

  /** What one process makes of it. */
  async function wholeSet() {
    const options = setup(pictures(IMAGES), ALL)
    const whole = { ...options, out: `${options.out}-whole` }
    await prepareDataset(whole)
    return { options, whole: folderDigest(whole.out) }
  }

  /** Goes on with so many processes; gives where each step began. */
  async function resumed(size: number, options: PrepareOptions): Promise<Map<string, number>> {
    const first = new Map<string, number>()
    const onProgress: PrepareOptions['onProgress'] = ({ step, done }) => {
      if (!first.has(step)) first.set(step, done)
    }
    expect(await prepared(size, { ...options, onProgress })).toEqual(Array(size).fill(IMAGES))
    return first
  }

  const OTHER = 'another process was asked to stop; the same call goes on from there.'

  test.each([
    // Who hears a signal, of how many, and how many go on.
    ['latents', [0], 2, 1],
    ['latents', [1], 2, 3],
    ['latents', [0, 1, 2], 3, 2],
    ['latents', [0], 1, 3],
    ['features', [0], 2, 1],
    ['features', [2], 3, 2],
  ] as const)('by a signal while it makes %s, to %j of %d, goes on with %d', async (step, who, before, after) => {
    const { options, whole } = await wholeSet()
    const controller = new AbortController()
    const onProgress: PrepareOptions['onProgress'] = (progress) => {
      if (progress.step === step && progress.done >= 12) controller.abort(new Error('interrupted'))
    }
    const stopped = await prepared(before, ({ rank }) => ({
      ...options,
      onProgress,
      ...((who as readonly number[]).includes(rank) && { signal: controller.signal }),
    }))
    expect(stopped[0]).toBe((who as readonly number[]).includes(0) ? 'interrupted' : OTHER)
    // The others may hear of each other's ends before they come to their own.
    expect(stopped.filter((said) => typeof said === 'number')).toEqual([])
    expect(existsSync(join(options.out, 'prepare-journal.jsonl'))).toBe(true)

    const began = (await resumed(after, options)).get(step)!
    if (step === 'latents') expect(began).toBeGreaterThanOrEqual(12)
    expect(began).toBeLessThan(IMAGES)
    expect(folderDigest(options.out)).toEqual(whole)
  })

  test.each([
    ['latents', 0, 'out of memory'],
    ['latents', 1, 'process 1 of 3: out of memory'],
    ['features', 0, 'out of memory'],
  ] as const)('where the %s of process %d fail, says so and goes on', async (step, who, why) => {
    const { options, whole } = await wholeSet()
    let calls = 0
    const failing = encodersThat((at, rank) => {
      if (at === step && rank === who && ++calls > 5) throw new Error('out of memory')
    })
    expect((await prepared(3, (world) => ({ ...options, ...failing(world) })))[0]).toBe(why)
    const began = await resumed(2, options)
    // The third of its batches of four, mirrored: the round of the second was not known yet to be written by all.
    if (step === 'latents') expect(began.get(step)).toBe(12)
    expect(folderDigest(options.out)).toEqual(whole)
  })

  test('by an image that cannot be read, ends for all of them, and goes on without it', async () => {
    const options = setup({ ...pictures(5), 'class0/999.png': 'no image' }, ALL)
    const ended = await prepared(3, options)
    expect(new Set(ended).size).toBe(1)
    expect(ended[0]).toMatch(/^Cannot read the image 'class0\/999\.png'.* the call goes on from there\.$/)
    expect(await prepared(2, { ...options, onCorrupt: 'skip' })).toEqual([5, 5])
  })
})
