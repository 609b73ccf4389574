import { groupNormApply } from '../tensor/ops/group-norm.ts'
import { standardize } from '../tensor/ops/latents.ts'
import { channelsFirst, channelsLast } from '../tensor/ops/layout.ts'
import { unpatchify } from '../tensor/ops/patch.ts'
import { normalizeImages, resizePlanes } from '../tensor/ops/pixels.ts'
import { keep, scope } from '../tensor/scope.ts'
import { Tensor } from '../tensor/tensor.ts'
import { Autoencoder, type AutoencoderOptions } from './autoencoder.ts'
import type { AutoencoderArchitecture } from './autoencoder-architecture.ts'
import type { ChannelStatistics } from './image-normalisation.ts'
import type { Model } from './model.ts'
import type { RaeDecoder, RaeDecoderConfig } from './rae-decoder.ts'
import type { VisionTransformer } from './vit.ts'

/** By which features become latents, (z − mean) / std, at every channel and place: [latentChannels, grid, grid]. */
export interface FeatureStatistics {
  readonly mean: Float32Array
  readonly std: Float32Array
}

export interface RaeParts {
  /** Its final norm without weight and bias; undefined: not loaded. */
  readonly encoder: VisionTransformer | undefined
  readonly decoder: RaeDecoder | undefined
  readonly sizes: RaeDecoderConfig
  readonly statistics: FeatureStatistics
  /** By which the encoder's images are normalised, and the decoder's brought back. */
  readonly pixels: ChannelStatistics
}

/**
 * A representation autoencoder (RAE, arXiv 2510.11690): the latents of an image are the patch features of a frozen encoder, standardised by
 * channel and place, and a decoder that was trained for it makes the pixels. There is no deviation: a latent is a point. Images have
 * one size, for the decoder's positions and the statistics are of one grid.
 */
export class RaeAutoencoder extends Autoencoder {
  readonly latentChannels: number
  readonly downsampling: number
  readonly latentScale = 1
  override readonly hasDeviations = false
  protected readonly range = [0, 1] as const
  readonly #parts: RaeParts
  /** By which features become latents, [C, grid, grid]. */
  readonly #mean: Tensor
  readonly #std: Tensor
  /** By which latents become features, by the number of images. */
  readonly #places = new Map<number, Tensor>()

  /** Takes both halves over, of which one may not be there. */
  constructor(parts: RaeParts, options: AutoencoderOptions) {
    super(options)
    if (options.tile !== undefined) {
      throw new RangeError(
        `${options.name} is a RAE, whose decoder sees the whole of an image; it cannot work in tiles of ${options.tile}: leave the tile out.`,
      )
    }
    this.#parts = parts
    const { latentChannels, grid } = parts.sizes
    const ofPlaces = (values: Float32Array) => keep(Tensor.from(values, [latentChannels, grid, grid], this.device))
    this.#mean = ofPlaces(parts.statistics.mean)
    this.#std = ofPlaces(parts.statistics.std)
    this.latentChannels = latentChannels
    this.downsampling = parts.sizes.patch
  }

  /** A frozen vision transformer takes little memory, and wants many rows. */
  protected override get pixelsAtOnce(): number {
    return this.device === 'cpu' ? super.pixelsAtOnce : 16 * super.pixelsAtOnce
  }

  protected encodeBatch(images: Tensor): Tensor {
    const { encoder, pixels, sizes } = this.#parts
    if (!encoder) throw new Error(`${this.name}: the encoder of this RAE is not loaded.`)
    const [count, , height, width] = images.shape as [number, number, number, number]
    this.#requireGrid(height / this.downsampling, width / this.downsampling)
    const { grid, latentChannels } = sizes
    return scope(() => {
      const normalised = normalizeImages(images, { divisor: 255, ...pixels })
      const side = grid * encoder.config.patch
      const isOwn = height === side && width === side
      const input = isOwn ? normalised : resizePlanes(normalised, side, side, { filter: 'bicubic' })
      const features = encoder.patchFeatures(input).reshape([count, grid, grid, latentChannels])
      return standardize(channelsFirst(features), this.#mean, this.#std)
    })
  }

  protected decodeBatch(latents: Tensor): Tensor {
    const { decoder, pixels, sizes } = this.#parts
    if (!decoder) throw new Error(`${this.name}: the decoder of this RAE is not loaded.`)
    const [count, channels, rows, columns] = latents.shape as [number, number, number, number]
    this.#requireGrid(rows, columns)
    const tokens = rows * columns
    return scope(() => {
      const features = channelsLast(latents).reshape([count * tokens, 1, channels])
      const own = groupNormApply(features, this.#placesOf(count))
      const patches = decoder.decode(own.reshape([count, tokens, channels]))
      // An image's patches are its pixels in another order, channels fastest in both.
      const [height, width] = [rows * sizes.patch, columns * sizes.patch]
      const brought = ofChannels(patches.reshape([count, height, width, 3]), pixels.std, pixels.mean)
      return unpatchify(brought.reshape(patches.shape), { channels: 3, height, width, patch: sizes.patch })
    })
  }

  #placesOf(count: number): Tensor {
    let places = this.#places.get(count)
    if (!places) {
      const { statistics, sizes } = this.#parts
      const shape = { count, channels: sizes.latentChannels, tokens: sizes.grid ** 2 }
      places = keep(ofPlaces(statistics, shape, this.device))
      this.#places.set(count, places)
    }
    return places
  }

  #requireGrid(rows: number, columns: number): void {
    const { grid, patch } = this.#parts.sizes
    if (rows === grid && columns === grid) return
    throw new RangeError(
      `${this.name} is a RAE of images of ${grid * patch} x ${grid * patch} pixels, latents of ${grid} x ${grid}; ` +
        `these are latents of ${rows} x ${columns}.`,
    )
  }

  get architecture(): AutoencoderArchitecture {
    return { kind: 'RAE', encoder: this.#parts.encoder?.config, decoder: this.#parts.sizes }
  }

  get networks(): readonly Model[] {
    return [this.#parts.encoder, this.#parts.decoder].filter((part) => part !== undefined)
  }

  override dispose(): void {
    super.dispose()
    for (const tensor of [this.#mean, this.#std, ...this.#places.values()]) tensor.dispose()
    this.#places.clear()
  }
}

/** x [N, H, W, C] · scale + shift of every channel. */
function ofChannels(x: Tensor, scales: readonly number[], shifts: readonly number[]): Tensor {
  const one = [...scales, ...shifts]
  const all = Float32Array.from({ length: x.shape[0]! * one.length }, (_, i) => one[i % one.length]!)
  return groupNormApply(x, Tensor.from(all, [x.shape[0]!, 2, scales.length], x.device))
}

/** What brings the latents of so many images back to features, as scale and shift of every channel of every token. */
function ofPlaces(
  { mean, std }: FeatureStatistics,
  { count, channels, tokens }: { count: number; channels: number; tokens: number },
  device: Tensor['device'],
): Tensor {
  const coefficients = new Float32Array(tokens * 2 * channels)
  for (let token = 0; token < tokens; token++) {
    for (let channel = 0; channel < channels; channel++) {
      coefficients[2 * token * channels + channel] = std[channel * tokens + token]!
      coefficients[(2 * token + 1) * channels + channel] = mean[channel * tokens + token]!
    }
  }
  const all = new Float32Array(count * coefficients.length)
  for (let n = 0; n < count; n++) all.set(coefficients, n * coefficients.length)
  return Tensor.from(all, [count * tokens, 2, channels], device)
}
