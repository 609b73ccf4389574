/** The third step of a preparation: an encoder's features of every image, so that training need not run it. */

import { type FeatureEncoder, featureSettingsOf, type TokenGrid } from './feature-encoder.ts'
import { imagesPerShard, ShardWriter } from './feature-store.ts'
import { mirrored, type PreparedImages, pixelBatches } from './prepared-images.ts'

export interface EncodeFeaturesOptions {
  readonly out: string
  readonly grid: TokenGrid
  /** Encodes each image's mirror image too. */
  readonly flip: boolean
  readonly signal: AbortSignal | undefined
  readonly onProgress: (done: number) => void
}

/**
 * Writes the shards of feature-store.ts. Batches begin at multiples of the encoder's batch size from a shard's first image, also
 * after a kill, so that the bytes are an unbroken run's.
 */
export async function encodeFeatures(
  images: PreparedImages,
  encoder: FeatureEncoder,
  { out, grid, flip, signal, onProgress }: EncodeFeaturesOptions,
): Promise<void> {
  const settings = featureSettingsOf(encoder, grid)
  const total = images.names.length
  const perShard = imagesPerShard(settings)
  for (let shard = 0; shard * perShard < total; shard++) {
    const begin = shard * perShard
    const count = Math.min(perShard, total - begin)
    const writers = (flip ? [false, true] : [false]).map(
      (isFlip) => new ShardWriter(out, settings, isFlip, shard, count),
    )
    const done = await Promise.all(writers.map((writer) => writer.done()))
    const least = Math.min(...done)
    const first = least === count ? count : Math.floor(least / encoder.batchSize) * encoder.batchSize
    onProgress(begin + first)
    const part = { ...images, names: images.names.slice(begin, begin + count) }
    for await (const batch of pixelBatches(part, first, encoder.batchSize)) {
      signal?.throwIfAborted()
      for (const [i, writer] of writers.entries()) {
        // The images as they are may be done where their mirror images are not.
        if (done[i]! >= batch.end) continue
        const pixels = i === 0 ? batch.images : mirrored(batch, images.size)
        await writer.write(batch.begin, await encodeChecked(encoder, pixels, grid, images, begin + batch.begin))
      }
      onProgress(begin + batch.end)
    }
    for (const writer of writers) await writer.finish()
  }
}

async function encodeChecked(
  encoder: FeatureEncoder,
  pixels: readonly Uint8Array[],
  grid: TokenGrid,
  { names, size }: PreparedImages,
  first: number,
): Promise<readonly Uint16Array[]> {
  const features = await encoder.encode(pixels, size, grid)
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
