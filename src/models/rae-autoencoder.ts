import type { LatentStatistics } from '../formats/latent-statistics.ts'
import { groupNormApply } from '../tensor/ops/group-norm.ts'
import { channelsFirst, channelsLast } from '../tensor/ops/layout.ts'
import { unpatchify } from '../tensor/ops/patch.ts'
import { normalizeImages, resizePlanes } from '../tensor/ops/pixels.ts'
import { scope } from '../tensor/scope.ts'
import { Tensor } from '../tensor/tensor.ts'
import { Autoencoder, type AutoencoderOptions } from './autoencoder.ts'
import type { AutoencoderArchitecture } from './autoencoder-architecture.ts'
import type { AutoencoderHalf } from './autoencoder-kl.ts'
import type { ChannelStatistics } from './image-normalisation.ts'
import type { Model } from './model.ts'
import type { RaeDecoder, RaeDecoderConfig } from './rae-decoder.ts'
import { Standardisation } from './standardisation.ts'
import type { VisionTransformer } from './vit.ts'

export interface RaeParts {
  /** Its final norm without weight and bias; undefined: not loaded. */
  readonly encoder: VisionTransformer | undefined
  readonly decoder: RaeDecoder | undefined
  readonly sizes: RaeDecoderConfig
  /** By which features become latents, (z − mean) / std, at every channel and place: [latentChannels, grid, grid]. */
  readonly statistics: LatentStatistics
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
  /** Of features [N, C, grid, grid]: they become latents. */
  readonly #standardisation: Standardisation

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
    this.#standardisation = new Standardisation(
      { ...parts.statistics, shape: [latentChannels, grid, grid] },
      this.device,
    )
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
      return this.#standardisation.apply(channelsFirst(features))
    })
  }

  protected decodeBatch(latents: Tensor): Tensor {
    const { decoder, pixels, sizes } = this.#parts
    if (!decoder) throw new Error(`${this.name}: the decoder of this RAE is not loaded.`)
    const [count, channels, rows, columns] = latents.shape as [number, number, number, number]
    this.#requireGrid(rows, columns)
    const tokens = rows * columns
    return scope(() => {
      const features = channelsLast(this.#standardisation.undo(latents))
      const patches = decoder.decode(features.reshape([count, tokens, channels]))
      // An image's patches are its pixels in another order, channels fastest in both.
      const [height, width] = [rows * sizes.patch, columns * sizes.patch]
      const brought = ofChannels(patches.reshape([count, height, width, 3]), pixels.std, pixels.mean)
      return unpatchify(brought.reshape(patches.shape), { channels: 3, height, width, patch: sizes.patch })
    })
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

  get missingHalf(): AutoencoderHalf | undefined {
    if (!this.#parts.encoder) return 'encoder'
    return this.#parts.decoder ? undefined : 'decoder'
  }

  get networks(): readonly Model[] {
    return [this.#parts.encoder, this.#parts.decoder].filter((part) => part !== undefined)
  }

  override dispose(): void {
    super.dispose()
    this.#standardisation.dispose()
  }
}

/** x [N, H, W, C] · scale + shift of every channel. */
function ofChannels(x: Tensor, scales: readonly number[], shifts: readonly number[]): Tensor {
  const one = [...scales, ...shifts]
  const all = Float32Array.from({ length: x.shape[0]! * one.length }, (_, i) => one[i % one.length]!)
  return groupNormApply(x, Tensor.from(all, [x.shape[0]!, 2, scales.length], x.device))
}
