import { getEventListeners } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { ConfigurationError } from '../../src/configuration/parse.ts'
import { Dataset, type LatentKind } from '../../src/data/dataset.ts'
import { type Batch, Loader, type LoaderOptions } from '../../src/data/loader.ts'
import { encodePng } from '../../src/data/png.ts'
import { encodeNpy } from '../../src/formats/npy.ts'
import { hostFloat32 } from '../../src/tensor/host-tensor.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { writeTree } from '../write-tree.ts'
import { syntheticImage } from './synthetic-image.ts'

const COUNT = 23
const SIZE = 6

/** A set whose samples can be told apart; sample i has label i mod 4. */
function filesOf(kind: LatentKind): Record<string, Uint8Array | string> {
  const files: Record<string, Uint8Array | string> = {}
  const labels: [string, number][] = []
  for (let i = 0; i < COUNT; i++) {
    const number = String(i).padStart(8, '0')
    files[`images/00000/img${number}.png`] = encodePng(syntheticImage(SIZE, SIZE, i).data, SIZE, SIZE, 3)
    labels.push([`00000/img${number}.png`, i % 4])
    const latent = hostFloat32(new Float32Array(8).fill(i), [2, 2, 2])
    if (kind !== 'pixels') files[`vae-sd/00000/img-mean-std-${number}.npy`] = encodeNpy(latent)
  }
  const latents = { encoder: 'points', shape: [2, 2, 2], scale: 1, deviations: false }
  return {
    ...files,
    'images/dataset.json': JSON.stringify({ labels }),
    ...(kind === 'points' && { 'dataset-info.json': JSON.stringify({ ...INFO, latents }) }),
    ...(kind === 'pixels' && { 'dataset-info.json': JSON.stringify({ ...INFO, flip: true }) }),
  }
}

const INFO = {
  format: 'repa-native-dataset-1',
  source: 'elsewhere',
  images: COUNT,
  classCounts: [6, 6, 6, 5],
  skipped: [],
  ignored: { count: 0, names: [] },
  notes: [],
}

const KINDS = ['moments', 'points', 'pixels'] as const
let root = ''
const datasets = new Map<LatentKind, Dataset>()
let moments: Dataset
beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), 'repa-loader-'))
  for (const kind of KINDS) {
    writeTree(join(root, kind), filesOf(kind))
    datasets.set(kind, await Dataset.open(join(root, kind)))
  }
  moments = datasets.get('moments')!
})
afterAll(() => rmSync(root, { recursive: true }))

async function take(loader: Loader, count: number): Promise<Batch[]> {
  const batches: Batch[] = []
  for await (const batch of loader) {
    batches.push(batch)
    if (batches.length === count) break
  }
  return batches
}

const OPTIONS: LoaderOptions = { batch: 5, seed: 1, images: true }

describe.each(KINDS)('Loader of %s', (kind) => {
  const dataset = (): Dataset => datasets.get(kind)!

  test('each batch holds the samples that it names', async () => {
    const data = dataset()
    for (const batch of await take(new Loader(data, OPTIONS), 6)) {
      expect(batch.indices).toHaveLength(5)
      for (const [i, index] of batch.indices.entries()) {
        const sample = await data.read(index, { image: true, latent: true })
        const { length } = sample.latent!
        expect(batch.labels[i]).toBe(index % 4)
        expect(batch.images!.subarray(i * 108, (i + 1) * 108)).toEqual(sample.image)
        expect(batch.latents.subarray(i * length, (i + 1) * length)).toEqual(sample.latent)
      }
    }
  })

  test('nothing but seed, step, batch and length decides a batch', async () => {
    const reference = await take(new Loader(dataset(), OPTIONS), 13)
    const variants: Partial<LoaderOptions>[] = [
      { prefetch: 0 },
      { prefetch: 7 },
      { concurrency: 1 },
      { cacheBytes: 0 },
      { cacheBytes: Number.POSITIVE_INFINITY },
      { cacheBytes: 0, concurrency: 1, prefetch: 0 },
    ]
    for (const variant of variants) {
      expect(await take(new Loader(dataset(), { ...OPTIONS, ...variant }), 13)).toEqual(reference)
    }
    for (const startStep of [1, 4, 11]) {
      expect(await take(new Loader(dataset(), { ...OPTIONS, startStep }), 2)).toEqual(
        reference.slice(startStep, startStep + 2),
      )
    }
  })

  test.each([1, 2, 3])('%d parts of a batch are the batch, each by itself', async (count) => {
    const options = { batch: 6, seed: 3, images: true, startStep: 2, flip: dataset().flip }
    const whole = await take(new Loader(dataset(), options), 3)
    const parts = await Promise.all(
      Array.from({ length: count }, (_, index) =>
        take(new Loader(dataset(), { ...options, part: { index, count } }), 3),
      ),
    )
    for (const [k, batch] of whole.entries()) {
      for (const name of ['indices', 'labels', 'images', 'latents'] as const) {
        expect(parts.flatMap((part) => [...part[k]![name]!])).toEqual([...batch[name]!])
      }
      for (const part of parts) expect(part[k]).toMatchObject({ step: batch.step, epoch: batch.epoch })
    }
  })

  test('brings no images where none were asked for', async () => {
    const [with_, without] = await Promise.all(
      [true, false].map(async (images) => (await take(new Loader(dataset(), { ...OPTIONS, images }), 1))[0]!),
    )
    expect(without).not.toHaveProperty('images')
    expect(without!.latents).toEqual(with_!.latents)
  })

  test('a batch belongs to the consumer', async () => {
    const expected = await take(new Loader(dataset(), OPTIONS), 10)
    const seen: Batch[] = []
    for await (const batch of new Loader(dataset(), OPTIONS)) {
      seen.push({ ...batch, images: batch.images!.slice(), latents: batch.latents.slice() })
      batch.images!.fill(99)
      batch.latents.fill(99)
      batch.labels.fill(99)
      if (seen.length === 10) break
    }
    expect(seen.map(({ images, latents }) => [images, latents])).toEqual(
      expected.map(({ images, latents }) => [images, latents]),
    )
  })
})

describe('Loader', () => {
  test('an epoch visits each sample once, drops the rest, and the next has another order', async () => {
    const loader = new Loader(moments, OPTIONS)
    expect(loader.stepsPerEpoch).toBe(4)
    const batches = await take(loader, 8)
    expect(batches.map(({ step, epoch }) => [step, epoch])).toEqual([0, 1, 2, 3, 4, 5, 6, 7].map((s) => [s, s >> 2]))
    const epochs = [batches.slice(0, 4), batches.slice(4)].map((some) => some.flatMap(({ indices }) => [...indices]))
    for (const epoch of epochs) expect(new Set(epoch).size).toBe(20)
    expect(epochs[0]).not.toEqual(epochs[1])
  })

  test('the seed decides the order', () => {
    const [one, other] = [1, 2].map((seed) => [...new Loader(moments, { ...OPTIONS, seed }).indicesOf(0)])
    expect(one).not.toEqual(other)
  })

  test.each([-1, 1.5, Number.NaN, Infinity])('%d is no step', (step) => {
    const loader = new Loader(moments, OPTIONS)
    expect(() => loader.indicesOf(step)).toThrow(`There is no step ${step}; expected a whole number from 0.`)
  })

  test('two iterations of one loader do not disturb each other', async () => {
    const loader = new Loader(moments, OPTIONS)
    const [a, b] = await Promise.all([take(loader, 9), take(loader, 9)])
    expect(a).toEqual(b)
  })

  test.each([0, 2 ** 20])('a damaged file fails its own step, by name (cache of %d bytes)', async (cacheBytes) => {
    const folder = temporaryFolder()
    writeTree(folder, filesOf('moments'))
    const dataset = await Dataset.open(folder)
    const options = { ...OPTIONS, cacheBytes, prefetch: 3 }
    const victim = new Loader(dataset, options).indicesOf(2)[3]!
    const name = `img${String(victim).padStart(8, '0')}.png`
    writeFileSync(join(folder, 'images/00000', name), 'damaged')
    const iterator = new Loader(dataset, options)[Symbol.asyncIterator]()
    expect((await iterator.next()).value).toMatchObject({ step: 0 })
    expect((await iterator.next()).value).toMatchObject({ step: 1 })
    await expect(iterator.next()).rejects.toThrow(name)
    expect(await iterator.next()).toEqual({ done: true, value: undefined })
  })

  test('leaving the loop starts no more reads', async () => {
    let running = 0
    let reads = 0
    const counting = await Dataset.open(join(root, 'moments'))
    counting.readInto = async (...args) => {
      reads++
      running++
      // A slow disk: the read ahead is still going on when the loop is left.
      await new Promise((resolve) => setTimeout(resolve, 5))
      await Dataset.prototype.readInto.apply(moments, args)
      running--
    }
    await take(new Loader(counting, { ...OPTIONS, prefetch: 8, concurrency: 2, cacheBytes: 0 }), 1)
    expect(running).toBe(0)
    const before = reads
    expect(before).toBeLessThan(20)
    await new Promise((resolve) => setTimeout(resolve, 50))
    expect(reads).toBe(before)
  })

  test('never reads more files at a time than it may', async () => {
    let running = 0
    let most = 0
    const counting = await Dataset.open(join(root, 'moments'))
    counting.readInto = async (...args) => {
      most = Math.max(most, ++running)
      await Dataset.prototype.readInto.apply(moments, args)
      running--
    }
    await take(new Loader(counting, { ...OPTIONS, prefetch: 4, concurrency: 3, cacheBytes: 0 }), 6)
    expect(most).toBe(3)
  })

  test('a signal ends the iteration with its reason', async () => {
    const controller = new AbortController()
    const seen: number[] = []
    const iterate = async (): Promise<void> => {
      for await (const { step } of new Loader(moments, { ...OPTIONS, cacheBytes: 0, signal: controller.signal })) {
        seen.push(step)
        if (step === 3) controller.abort(new Error('stopped by the user'))
      }
    }
    await expect(iterate()).rejects.toThrow('stopped by the user')
    expect(seen).toEqual([0, 1, 2, 3])
    await expect(iterate()).rejects.toThrow('stopped by the user')
    expect(seen).toHaveLength(4)
  })

  test('an iteration leaves nothing behind on the signal', async () => {
    const { signal } = new AbortController()
    /** Signals that depend on this one, which Node notes in sets. */
    const dependants = () =>
      Object.getOwnPropertySymbols(signal)
        .map((key) => (signal as unknown as Record<symbol, unknown>)[key])
        .reduce((count: number, value) => count + (value instanceof Set ? value.size : 0), 0)
    const before = dependants()
    for (let i = 0; i < 3; i++) {
      for await (const _ of new Loader(moments, { ...OPTIONS, signal })) {
        expect(getEventListeners(signal, 'abort')).toHaveLength(1)
        break
      }
    }
    expect(getEventListeners(signal, 'abort')).toHaveLength(0)
    expect(dependants()).toBe(before)
  })

  test.each<[Partial<LoaderOptions>, string]>([
    [{ batch: 24 }, 'A batch of 24 is more than the 23 images of'],
    [{ part: { index: 0, count: 2 } }, 'A batch of 5 cannot be cut into 2 equal parts; take a multiple of 2.'],
    [{ flip: true }, 'was prepared without mirror images; prepare it with `flip`.'],
  ])('refuses %j', (change, message) => {
    expect(() => new Loader(moments, { ...OPTIONS, ...change })).toThrow(message)
  })

  test.each<[Record<string, unknown>, string]>([
    [{ batch: 0 }, 'batch is 0: expected number to be >0.'],
    [{ batch: '5' }, 'batch is "5": expected number.'],
    [{ batch: undefined }, 'batch is missing: expected number.'],
    [{ seed: undefined }, 'seed is missing: expected number.'],
    [{ seed: -1 }, 'seed is -1: expected number to be >=0.'],
    [{ seed: 2 ** 53 }, 'seed is 9007199254740992: expected int to be <=9007199254740991.'],
    [{ images: undefined }, 'images is missing: expected boolean.'],
    [{ latents: 1 }, 'latents is 1: expected boolean.'],
    [{ flip: 'no' }, 'flip is "no": expected boolean.'],
    [{ prefetch: -1 }, 'prefetch is -1: expected number to be >=0.'],
    [{ startStep: 0.5 }, 'startStep is 0.5: expected int.'],
    [{ concurrency: 0 }, 'concurrency is 0: expected number to be >0.'],
    [{ cacheBytes: Number.NaN }, 'cacheBytes is NaN: expected a number, at least 0.'],
    [{ cacheBytes: -1 }, 'cacheBytes is -1: expected a number, at least 0.'],
    [{ part: { index: 5, count: 2 }, batch: 4 }, 'part.index is 5: expected one below the count of parts.'],
    [{ part: { index: 1, count: 1 } }, 'part.index is 1: expected one below the count of parts.'],
    [{ part: { index: 0.5, count: 1 } }, 'part.index is 0.5: expected int.'],
    [
      { part: { index: 0, count: 0 } },
      'part.count is 0: expected number to be >0; part.index is 0: expected one below the count of parts.',
    ],
    [{ part: { index: 0 } }, 'part.count is missing: expected number.'],
    [
      { features: ['dinov2'] },
      'features.0 is "dinov2": expected a FeatureStore, as openFeatures of a Dataset gives it.',
    ],
    [{ signal: {} }, 'signal is {}: expected an AbortSignal.'],
    [{ shuffle: false }, 'there is no setting "shuffle".'],
  ])('refuses %j as no options', (change, sentence) => {
    const made = () => new Loader(moments, { ...OPTIONS, ...change } as LoaderOptions)
    expect(made).toThrow(new ConfigurationError(`the loader's options: ${sentence}`))
  })

  test('what is left out or undefined has its default', async () => {
    const nothing = Object.fromEntries(
      ['part', 'latents', 'features', 'flip', 'prefetch', 'startStep', 'concurrency', 'cacheBytes', 'signal'].map(
        (name) => [name, undefined],
      ),
    )
    expect(await take(new Loader(moments, { ...OPTIONS, ...nothing }), 2)).toEqual(
      await take(new Loader(moments, OPTIONS), 2),
    )
  })
})
