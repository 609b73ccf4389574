/** The third step of a preparation: an encoder's features of every image, so that training need not run it. */

import type { World } from '../distributed/world.ts'
import { numberToFloat16 } from '../tensor/float16.ts'
import { type FeatureEncoder, featureSettingsOf, type TokenGrid } from './feature-encoder.ts'
import { imagesPerShard, ShardWriter } from './feature-store.ts'
import { cutIntoBatches, type ImageRange, mirrored, type PreparedImages } from './prepared-images.ts'
import { encodeShared } from './shared-batches.ts'

export interface EncodeFeaturesOptions {
  readonly out: string
  readonly grid: TokenGrid
  /** Encodes each image's mirror image too. */
  readonly flip: boolean
  /** Images of a shard. Default: `imagesPerShard`. */
  readonly perShard?: number
  readonly world: World
  readonly signal: AbortSignal | undefined
  readonly onProgress: (done: number) => void
}

/** Consecutive images whose features are a file, and those of their mirror images another. */
interface Shard extends ImageRange {
  readonly writers: readonly ShardWriter[]
  /** Images of which each file has the features already. */
  readonly done: readonly number[]
}

/**
 * Writes the shards of feature-store.ts. Processes take shards in turn: a file is of one of them. Batches begin at multiples of the
 * encoder's batch size from a shard's first image, also after a kill, so that the bytes are an unbroken run's.
 */
export async function encodeFeatures(
  images: PreparedImages,
  encoder: FeatureEncoder,
  { out, grid, flip, perShard, world, signal, onProgress }: EncodeFeaturesOptions,
): Promise<void> {
  const settings = featureSettingsOf(encoder, grid)
  const { batchSize } = encoder
  const total = images.names.length
  const ranges = cutIntoBatches({ begin: 0, end: total }, perShard ?? imagesPerShard(settings))
  const writers = ranges.map(({ begin, end }, shard) =>
    (flip ? [false, true] : [false]).map((isFlip) => new ShardWriter(out, settings, isFlip, shard, end - begin)),
  )
  // As the leader finds them, before anybody writes.
  const done = await world.agree(
    await Promise.all(writers.map((own) => Promise.all(own.map((writer) => writer.done())))),
  )
  const shards = ranges.map((range, i): Shard => ({ ...range, writers: writers[i]!, done: done[i]! }))
  const isEncoded = ({ begin, end, done }: Shard): boolean => Math.min(...done) === end - begin
  const pending = shards.filter((shard) => !isEncoded(shard))
  // A kill may have come before the names.
  if (world.rank === 0) for (const shard of shards.filter(isEncoded)) await finish(shard)
  const batchesOf = ({ begin, end, done }: Shard): ImageRange[] =>
    cutIntoBatches({ begin: begin + Math.floor(Math.min(...done) / batchSize) * batchSize, end }, batchSize)
  const parts = Array.from({ length: world.size }, (_, rank) =>
    pending.filter((_, i) => i % world.size === rank).flatMap(batchesOf),
  )
  let written = total - parts.flat().reduce((sum, { begin, end }) => sum + end - begin, 0)
  onProgress(written)
  await encodeShared(images, {
    parts,
    world,
    signal,
    encode: async (batch) => {
      const shard = shards.findLast(({ begin }) => begin <= batch.begin)!
      const [first, last] = [batch.begin - shard.begin, batch.end - shard.begin]
      const features: (readonly Uint16Array[] | undefined)[] = []
      for (const [i, done] of shard.done.entries()) {
        // The images as they are may be done where their mirror images are not.
        if (done >= last) features.push(undefined)
        else {
          const pixels = i === 0 ? batch.images : mirrored(batch, images.size)
          features.push(await encodeChecked(encoder, pixels, grid, images, batch.begin))
        }
      }
      return async () => {
        for (const [i, own] of features.entries()) if (own) await shard.writers[i]!.write(first, own)
        if (batch.end === shard.end) await finish(shard)
      }
    },
    onRound: (count) => {
      written += count
      onProgress(written)
    },
  })
}

async function finish({ writers }: Shard): Promise<void> {
  for (const writer of writers) await writer.finish()
}

async function encodeChecked(
  encoder: FeatureEncoder,
  pixels: readonly Uint8Array[],
  grid: TokenGrid,
  { names, size }: PreparedImages,
  first: number,
): Promise<readonly Uint16Array[]> {
  const given = await encoder.encode(pixels, size, grid)
  const kind = given.find((one) => !(one instanceof Uint16Array || one instanceof Float32Array))
  if (kind !== undefined) {
    throw new TypeError(
      `The encoder '${encoder.name}' gave features as ${Object.prototype.toString.call(kind).slice(8, -1)}; Float32Array, or ` +
        'Uint16Array with the bits of float16, was expected.',
    )
  }
  const features = given.map((one) => (one instanceof Uint16Array ? one : Uint16Array.from(one, numberToFloat16)))
  const length = grid[0] * grid[1] * encoder.width
  const wrong = features.find((halves) => halves.length !== length)
  if (features.length !== pixels.length || wrong) {
    throw new Error(
      `The encoder '${encoder.name}' gave ${features.length} features of ${(wrong ?? features[0])?.length} numbers for ` +
        `${pixels.length} images; ${length} numbers each were expected.`,
    )
  }
  // Binary16 ends at 65504: what is beyond, or not a number, has all exponent bits set.
  const bad = features.findIndex((halves) => halves.some((half) => (half & 0x7c00) === 0x7c00))
  if (bad >= 0) {
    throw new Error(
      `The encoder '${encoder.name}' gives features of '${names[first + bad]}' that are not finite or beyond float16's 65504; they cannot be cached.`,
    )
  }
  return features
}
