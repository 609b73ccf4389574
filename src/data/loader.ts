import { availableParallelism } from 'node:os'
import * as z from 'zod'
import { aSignal } from '../configuration/callbacks.ts'
import { parseConfiguration, whenNeeded } from '../configuration/parse.ts'
import type { Dataset } from './dataset.ts'
import { FeatureStore } from './feature-store.ts'
import { keyedRandom } from './keyed-random.ts'
import { KeyedPermutation } from './permutation.ts'
import { SampleCache } from './sample-cache.ts'

/** The samples of one training step, or one process's part of them. The arrays belong to whoever received them; the loader keeps no reference. */
export interface Batch {
  readonly step: number
  readonly epoch: number
  /** The samples' places in the data set. */
  readonly indices: Int32Array
  readonly labels: Int32Array
  /** `[B, 3, S, S]` bytes, where they were asked for. */
  readonly images?: Uint8Array
  /** For each of the loader's feature stores, `[B, T, width]` as the bits of float16. */
  readonly features: readonly Uint16Array[]
  /** `[B, 2C, h, w]` (`moments`), `[B, C, h, w]` (`points`) or `[B, 3, S, S]` (`pixels`), as `Dataset.storedLatentShape` says; empty where they were not asked for. */
  readonly latents: Float32Array
}

export interface LoaderOptions {
  /** Samples in a batch. The last ones of an epoch, too few for a batch, are dropped. */
  readonly batch: number
  /** Which of `count` equal parts of every batch is brought, `index` from 0: where several processes share them. Default: all of it. */
  readonly part?: { readonly index: number; readonly count: number }
  readonly seed: number
  /** Whether the batches bring the images, which an encoder that runs, or the autoencoder of a run that encodes its latents, needs. */
  readonly images: boolean
  /** Whether they bring the latents. Default: true. */
  readonly latents?: boolean
  /** Cached features that the batches bring. They stay the caller's to close, after the iteration. */
  readonly features?: readonly FeatureStore[]
  /**
   * Whether each sample may be its mirror image, with probability ½: drawn by (seed, step) and the sample's place in the batch
   * alone. The data set must have been prepared for it.
   */
  readonly flip?: boolean
  /** Batches that are read ahead of the one in use. */
  readonly prefetch?: number
  /** The first step, counted from 0 over all epochs: that of an unbroken run at which a resumed one goes on. */
  readonly startStep?: number
  /** Files that are read and decoded at the same time. */
  readonly concurrency?: number
  /** A data set whose decoded samples fit in so many bytes is decoded only once and kept. 0 keeps nothing. */
  readonly cacheBytes?: number
  /** Ends the iteration: it throws the signal's reason. */
  readonly signal?: AbortSignal
}

const schema = whenNeeded(() => {
  const count = z.int().positive()
  return z.strictObject({
    batch: count,
    part: z
      .strictObject({ index: z.int().min(0), count })
      .refine(({ index, count }) => index < count, { path: ['index'], error: 'expected one below the count of parts' })
      .default({ index: 0, count: 1 }),
    seed: z.int().min(0),
    images: z.boolean(),
    latents: z.boolean().default(true),
    features: z
      .array(
        z.custom<FeatureStore>(
          (value) => value instanceof FeatureStore,
          'expected a FeatureStore, as openFeatures of a Dataset gives it',
        ),
      )
      .default([]),
    flip: z.boolean().default(false),
    prefetch: z.int().min(0).default(2),
    startStep: z.int().min(0).default(0),
    concurrency: count.default(Math.max(8, 2 * availableParallelism())),
    // Infinity too: whatever the data set takes.
    cacheBytes: z
      .custom<number>((value) => typeof value === 'number' && value >= 0, 'expected a number, at least 0')
      .default(512 * 2 ** 20),
    signal: aSignal().optional(),
  } satisfies Record<keyof LoaderOptions, z.ZodType>)
})

/** Keeps the draws of flips apart from whatever else is drawn by seed and step: "flip" in ASCII. */
const FLIP_STREAM = 0x66_6c_69_70

/**
 * An endless, prefetching stream of shuffled batches. Which samples step s holds is a function of (seed, s, batch size,
 * length of the data set) alone: epoch ⌊s / E⌋ with E = ⌊length / batch⌋ steps, in the order of that epoch's keyed
 * permutation. So a position in the data is a step number, and nothing else has to be saved.
 *
 * Memory: the batch in use and `prefetch` more, at most `concurrency` files being decoded, and the cache.
 */
export class Loader implements AsyncIterable<Batch> {
  /** E: batches of one epoch. */
  readonly stepsPerEpoch: number
  readonly #dataset: Dataset
  readonly #options: Omit<z.output<ReturnType<typeof schema>>, 'signal'>
  readonly #signal: AbortSignal | undefined
  readonly #cache: SampleCache | undefined
  readonly #slots: Slots
  #permutation: { readonly epoch: number; readonly order: KeyedPermutation } | undefined

  /** @throws {ConfigurationError} for options that are none; {RangeError} for a batch or mirror images that the data set has not */
  constructor(dataset: Dataset, options: LoaderOptions) {
    const { signal, ...rest } = parseConfiguration(schema(), options, "the loader's options")
    this.#options = rest
    const { batch, part, concurrency, cacheBytes, images, latents } = rest
    if (batch % part.count !== 0) {
      throw new RangeError(
        `A batch of ${batch} cannot be cut into ${part.count} equal parts; take a multiple of ${part.count}.`,
      )
    }
    if (batch > dataset.length) {
      throw new RangeError(
        `A batch of ${batch} is more than the ${dataset.length} images of '${dataset.path}'. Take a smaller batch.`,
      )
    }
    if (rest.flip) requireMirrorImages(dataset)
    this.stepsPerEpoch = Math.floor(dataset.length / batch)
    this.#dataset = dataset
    this.#signal = signal
    this.#cache = SampleCache.create(dataset, { images, latents }, cacheBytes)
    this.#slots = new Slots(concurrency)
  }

  /** Which samples a step holds, in order. @throws {RangeError} for what is no step: a whole number from 0 */
  indicesOf(step: number): Int32Array {
    if (!Number.isSafeInteger(step) || step < 0)
      throw new RangeError(`There is no step ${step}; expected a whole number from 0.`)
    const { batch, seed } = this.#options
    const epoch = Math.floor(step / this.stepsPerEpoch)
    if (this.#permutation?.epoch !== epoch) {
      this.#permutation = { epoch, order: new KeyedPermutation(this.#dataset.length, seed, epoch) }
    }
    const { order } = this.#permutation
    const first = (step % this.stepsPerEpoch) * batch
    return Int32Array.from({ length: batch }, (_, i) => order.at(first + i))
  }

  /** Which samples of a step are mirror images: 1 where one is. */
  flipsOf(step: number): Uint8Array {
    const { batch, seed, flip } = this.#options
    const flips = new Uint8Array(batch)
    if (!flip) return flips
    const random = keyedRandom(seed, FLIP_STREAM, step)
    return flips.map(() => (random.uniform() < 0.5 ? 1 : 0))
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Batch, never, undefined> {
    const left = new AbortController()
    const { signal: stop } = left
    // AbortSignal.any would leave a reference in a signal that outlives many iterations.
    const signal = this.#signal
    const leave = () => left.abort(signal?.reason)
    signal?.addEventListener('abort', leave)
    const ahead: Promise<Batch>[] = []
    try {
      signal?.throwIfAborted()
      for (let step = this.#options.startStep; ; step++) {
        stop.throwIfAborted()
        while (ahead.length <= this.#options.prefetch) ahead.push(this.#startBatch(step + ahead.length, stop))
        yield await ahead.shift()!
      }
    } finally {
      signal?.removeEventListener('abort', leave)
      left.abort()
      await Promise.allSettled(ahead)
    }
  }

  #startBatch(step: number, stop: AbortSignal): Promise<Batch> {
    const batch = this.#readBatch(step, stop)
    // The failure is reported when the step's turn comes; until then it must not count as unhandled.
    batch.catch(() => {})
    return batch
  }

  async #readBatch(step: number, stop: AbortSignal): Promise<Batch> {
    const dataset = this.#dataset
    const { part } = this.#options
    const own = [part.index, part.index + 1].map((end) => (end * this.#options.batch) / part.count)
    const indices = this.indicesOf(step).slice(...own)
    const flips = this.flipsOf(step).slice(...own)
    const stores = this.#options.features
    const imageLength = this.#options.images ? dataset.imageLength : 0
    const [channels, height, width] = dataset.storedLatentShape
    const latentLength = this.#options.latents ? channels * height * width : 0
    const images = this.#options.images ? new Uint8Array(indices.length * imageLength) : undefined
    const latents = new Float32Array(indices.length * latentLength)
    const features = stores.map(({ imageBytes }) => new Uint8Array(indices.length * imageBytes))
    const reads: Promise<void>[] = []
    for (const [i, index] of indices.entries()) {
      const image = images?.subarray(i * imageLength, (i + 1) * imageLength)
      const flipped = flips[i] === 1
      const latent = this.#options.latents ? latents.subarray(i * latentLength, (i + 1) * latentLength) : undefined
      const target = { ...(image && { image }), ...(latent && { latent }), flipped }
      for (const [k, store] of stores.entries()) {
        const out = features[k]!.subarray(i * store.imageBytes, (i + 1) * store.imageBytes)
        const read = async (): Promise<void> => {
          stop.throwIfAborted()
          await store.readInto(index, flipped, out)
        }
        reads.push(this.#slots.run(read))
      }
      if (this.#cache?.copyTo(index, target)) continue
      const read = async (): Promise<void> => {
        stop.throwIfAborted()
        if (!this.#cache) return dataset.readInto(index, target)
        await this.#cache.fill(dataset, index, flipped)
        this.#cache.copyTo(index, target)
      }
      reads.push(this.#slots.run(read))
    }
    // All of them end before a failure is passed on, so that nothing runs behind the consumer's back.
    const failed = (await Promise.allSettled(reads)).find((result) => result.status === 'rejected')
    if (failed) throw failed.reason
    return {
      step,
      epoch: Math.floor(step / this.stepsPerEpoch),
      indices,
      labels: Int32Array.from(indices, (index) => dataset.labels[index]!),
      ...(images && { images }),
      features: features.map(({ buffer }) => new Uint16Array(buffer)),
      latents,
    }
  }
}

/** @throws {RangeError} where it was not prepared for mirror images */
export function requireMirrorImages({ path, flip }: Dataset): void {
  if (!flip) throw new RangeError(`'${path}' was prepared without mirror images; prepare it with \`flip\`.`)
}

/** Lets a number of tasks run at the same time, first come, first served. */
class Slots {
  #free: number
  readonly #waiting: (() => void)[] = []

  constructor(count: number) {
    this.#free = count
  }

  async run<T>(task: () => Promise<T>): Promise<T> {
    if (this.#free > 0) this.#free -= 1
    else await new Promise<void>((resolve) => this.#waiting.push(resolve))
    try {
      return await task()
    } finally {
      const next = this.#waiting.shift()
      if (next) next()
      else this.#free += 1
    }
  }
}
