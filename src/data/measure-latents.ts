/** Mean and standard deviation of an autoencoder's latents by channel, over the images of a data set. */
import * as z from 'zod'
import { aFunction, anObjectWith, aSignal } from '../configuration/callbacks.ts'
import { parseConfiguration, whenNeeded } from '../configuration/parse.ts'
import { encodeChecked } from './encode-latents.ts'
import type { LatentEncoder } from './latent-encoder.ts'
import { KeyedPermutation } from './permutation.ts'
import { cutIntoBatches, openPreparedImages, type PreparedImages, pixelBatches } from './prepared-images.ts'

/** As many as LightningDiT's code takes. */
const DEFAULT_IMAGES = 10_000

export interface MeasureLatentsOptions {
  /** A prepared data set. */
  readonly data: string
  readonly encoder: LatentEncoder
  /** At most so many of its images, drawn by `seed`. Default: 10,000. */
  readonly images?: number | undefined
  /** Default: 0. */
  readonly seed?: number
  readonly signal?: AbortSignal | undefined
  readonly onProgress?: (done: number, total: number) => void
}

const schema = whenNeeded(() =>
  z.strictObject({
    data: z.string(),
    encoder: anObjectWith('encode', 'an autoencoder, as loadAutoencoder gives it'),
    // How many there may be has a sentence of its own.
    images: z.number().optional(),
    seed: z.int().min(0).optional(),
    signal: aSignal().optional(),
    onProgress: aFunction().optional(),
  } satisfies Record<keyof MeasureLatentsOptions, z.ZodType>),
)

export interface MeasuredLatents {
  /** By channel. */
  readonly mean: Float32Array
  readonly std: Float32Array
  /** That were looked at. */
  readonly images: number
}

/**
 * The statistics by which LightningDiT's code (`compute_latent_stats`, arXiv 2501.01423) standardises latents: of samples of the posteriors,
 * over images and places. It draws one sample an image; here its expectation is taken, E[z] = E[μ] and Var[z] = Var[μ] + E[σ²], so that
 * nothing but the choice of images is random.
 *
 * @throws {ConfigurationError} for options that are none; {RangeError} for a number of images that is none, or where a channel is the same
 *   everywhere; else what `openPreparedImages` and the encoder throw
 */
export async function measureLatents(options: MeasureLatentsOptions): Promise<MeasuredLatents> {
  parseConfiguration(schema(), options, 'the options of measureLatents')
  const { data, encoder, images: most = DEFAULT_IMAGES, seed = 0, signal, onProgress } = options
  if (!(Number.isInteger(most) && most >= 1)) {
    throw new RangeError(`The latents of ${most} images cannot be measured; expected a whole number of at least 1.`)
  }
  const images = someOf(await openPreparedImages(data), most, seed)
  const sums = new ChannelSums(encoder)
  const total = images.names.length
  onProgress?.(0, total)
  for await (const batch of pixelBatches(images, cutIntoBatches({ begin: 0, end: total }, encoder.batchSize))) {
    signal?.throwIfAborted()
    for (const latent of await encodeChecked(encoder, batch.images, images, batch.begin)) sums.add(latent)
    onProgress?.(batch.end, total)
  }
  return { ...sums.statistics(encoder.name), images: total }
}

/** So many of the images, each at most once, in their order on the disk. */
function someOf(images: PreparedImages, most: number, seed: number): PreparedImages {
  const all = images.names.length
  if (all <= most) return images
  const order = new KeyedPermutation(all, seed, 0)
  const chosen = Array.from({ length: most }, (_, i) => order.at(i)).sort((a, b) => a - b)
  const those = <T>(values: readonly T[]): T[] => chosen.map((i) => values[i]!)
  return { ...images, names: those(images.names), numbers: those(images.numbers), labels: those(images.labels) }
}

/** Sums over images and places, by channel: of means, less the first of them, their squares, and variances. */
class ChannelSums {
  /** Of every channel the first mean: of a channel that is the same everywhere no rounding is left for a deviation. */
  #first: Float64Array | undefined
  readonly #mean: Float64Array
  readonly #square: Float64Array
  readonly #variance: Float64Array
  readonly #hasDeviations: boolean
  #count = 0

  constructor({ latentChannels: channels, hasDeviations = true }: LatentEncoder) {
    this.#hasDeviations = hasDeviations
    this.#mean = new Float64Array(channels)
    this.#square = new Float64Array(channels)
    this.#variance = new Float64Array(channels)
  }

  /** @param latent one image's, [2C, h, w], means, then standard deviations, or of points [C, h, w] */
  add(latent: Float32Array): void {
    const channels = this.#mean.length
    const places = latent.length / (this.#hasDeviations ? 2 * channels : channels)
    this.#first ??= Float64Array.from({ length: channels }, (_, channel) => latent[channel * places]!)
    for (let channel = 0; channel < channels; channel++) {
      const [first, deviations] = [channel * places, (channels + channel) * places]
      for (let i = 0; i < places; i++) {
        const mean = latent[first + i]! - this.#first[channel]!
        this.#mean[channel]! += mean
        this.#square[channel]! += mean * mean
        if (this.#hasDeviations) this.#variance[channel]! += latent[deviations + i]! ** 2
      }
    }
    this.#count += places
  }

  statistics(name: string): { readonly mean: Float32Array; readonly std: Float32Array } {
    const fromFirst = this.#mean.map((sum) => sum / this.#count)
    const mean = fromFirst.map((value, i) => value + (this.#first?.[i] ?? 0))
    const variance = fromFirst.map(
      (value, i) => Math.max(0, this.#square[i]! / this.#count - value * value) + this.#variance[i]! / this.#count,
    )
    const constant = variance.findIndex((value) => value <= 0)
    if (constant >= 0) {
      throw new RangeError(
        `Channel ${constant} of the latents of '${name}' is ${mean[constant]} everywhere; there is nothing to standardise it by.`,
      )
    }
    return { mean: Float32Array.from(mean), std: Float32Array.from(variance, Math.sqrt) }
  }
}
