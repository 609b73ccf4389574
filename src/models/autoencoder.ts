import * as z from 'zod'
import { parseConfiguration, whenNeeded } from '../configuration/parse.ts'
import type { LatentStatistics } from '../formats/latent-statistics.ts'
import { native } from '../native.ts'
import type { Device } from '../tensor/device.ts'
import type { ComputeDType } from '../tensor/dtype.ts'
import { mean } from '../tensor/ops/loss.ts'
import { PIXEL_ROUNDINGS, type PixelRounding, toUint8 } from '../tensor/ops/pixels.ts'
import { planar } from '../tensor/planes.ts'
import { scope } from '../tensor/scope.ts'
import { Tensor } from '../tensor/tensor.ts'
import type { AutoencoderArchitecture } from './autoencoder-architecture.ts'
import type { AutoencoderHalf } from './autoencoder-kl.ts'
import type { Model } from './model.ts'
import { NotFiniteError } from './not-finite-error.ts'
import { blendTiles, type Tile, type TilePlace, tilePlaces } from './tiles.ts'

/** Pixels of the images that pass through the network together: enough that small images fill the processor. */
const PIXELS_AT_ONCE = { cpu: 512 * 512, gpu: 4 * 512 * 512 } as const
/** How many images a preparation hands over at a time: what a kill may cost. */
const BATCH = { cpu: 8, gpu: 32 } as const

/** Bytes [N, H, W, 3]. */
export interface DecodedImages {
  readonly bytes: Uint8Array
  readonly height: number
  readonly width: number
}

export interface DecodeOptions {
  /** A model says its own (`pixelRounding`). Default: down, as REPA's. */
  readonly rounding?: PixelRounding | undefined
}

const decodeOptions = whenNeeded(() => z.strictObject({ rounding: z.enum(PIXEL_ROUNDINGS).default('down') }))

export interface AutoencoderOptions {
  readonly name: string
  readonly device: Device
  /**
   * Side of square tiles in latent elements. Images whose latents are larger are encoded and decoded tile by tile, a quarter of
   * each overlapping its neighbours', where they are blended (as diffusers does): memory is then that of one tile. Not exact:
   * group statistics and attention are a tile's, not the image's. Default: the whole image at once.
   */
  readonly tile?: number | undefined
}

/**
 * An autoencoder as data sets and samplers use it: photos to latents as data sets store them, and a model's latents to photos.
 * Made by `loadAutoencoder`.
 */
export abstract class Autoencoder implements Disposable {
  /** Recorded with the data sets that it encodes. */
  readonly name: string
  readonly device: Device
  /** Side of the tiles that it works in, in latent elements; undefined: the whole image at once. */
  readonly tile: number | undefined
  abstract readonly latentChannels: number
  /** Pixels per latent element along one side. */
  abstract readonly downsampling: number
  /** A model's latents are a data set's times this. */
  abstract readonly latentScale: number
  /** By which its latents are standardised, channel by channel; undefined where they are not so. */
  readonly statistics: LatentStatistics | undefined = undefined
  /** Whether a latent has a deviation; else it is a point. */
  readonly hasDeviations: boolean = true
  /** Black and white of what `decodeBatch` gives. */
  protected abstract readonly range: readonly [number, number]

  protected constructor({ name, device, tile }: AutoencoderOptions) {
    if (tile !== undefined && !(Number.isInteger(tile) && tile >= 8)) {
      throw new RangeError(
        `The tiles of an autoencoder are ${tile} latent elements wide; expected a whole number of at least 8.`,
      )
    }
    this.name = name
    this.device = device
    this.tile = tile
  }

  /** Pixels of the images that pass through the network together. */
  protected get pixelsAtOnce(): number {
    return this.device === 'cpu' ? PIXELS_AT_ONCE.cpu : PIXELS_AT_ONCE.gpu
  }

  /** How many images a preparation should hand over at a time. */
  get batchSize(): number {
    return this.device === 'cpu' ? BATCH.cpu : BATCH.gpu
  }

  /**
   * Images u8 [n, 3, H, W] → mean and standard deviation, f32 [n, 2C, h, w], not scaled, or of points [n, C, h, w]. Enqueues, and makes
   * nothing of the host's, so that it can be captured.
   */
  protected abstract encodeBatch(images: Tensor): Tensor

  /** Latents [n, C, h, w] f32, at a model's scale → images [n, 3, H, W] f32. */
  protected abstract decodeBatch(latents: Tensor): Tensor

  /** What it is without its weights. */
  abstract get architecture(): AutoencoderArchitecture

  /** The networks of it that are loaded. */
  abstract get networks(): readonly Model[]

  /** The half that is not loaded; undefined: both are. */
  abstract get missingHalf(): AutoencoderHalf | undefined

  /** Lets activations and products be of another dtype from now on; the residual stream and statistics stay f32. */
  computeIn(dtype: ComputeDType): void {
    for (const network of this.networks) network.computeIn(dtype)
  }

  dispose(): void {
    for (const network of this.networks) network.dispose()
  }

  [Symbol.dispose](): void {
    this.dispose()
  }

  /**
   * The posteriors of square images, or their points.
   *
   * @param images each `size × size × 3` bytes, channels fastest
   * @returns for each image 2C × h × w floats, the mean, then the standard deviation, not scaled; or C × h × w of a point
   */
  async encode(images: readonly Uint8Array[], size: number): Promise<Float32Array[]> {
    const latents: Float32Array[] = []
    const side = this.#sideOf(size)
    for (const batch of batchesOf(images.length, this.#atOnce(size * size))) {
      const moments = await this.#encodePixels(images.slice(batch.first, batch.end), size)
      const length = this.#storedChannels * side * side
      for (let n = 0; n < batch.count; n++) latents.push(moments.slice(n * length, (n + 1) * length))
    }
    return latents
  }

  /**
   * The posteriors of a batch of square images, or their points, as `encode` has them, on the device. Enqueues only: a step that begins
   * with it can be captured.
   *
   * @param images u8 [B, 3, S, S]
   * @returns f32 [B, 2C, h, w], or of points [B, C, h, w]
   */
  encodeImages(images: Tensor): Tensor {
    const [batch, , size] = images.shape as [number, number, number, number]
    const side = this.#sideOf(size)
    if (this.#isTiled(side, side)) {
      throw new RangeError(
        `${this.name} works in tiles of ${this.tile} latent elements, and the latents of a batch of ${size} x ${size} pixels are ${side} wide; ` +
          'leave the tile out.',
      )
    }
    const atOnce = this.#atOnce(size * size)
    if (batch <= atOnce) return this.encodeBatch(images)
    const latents = Tensor.empty([batch, this.#storedChannels, side, side], this.device)
    scope(() => {
      for (const { first, end } of batchesOf(batch, atOnce)) {
        scope(() => {
          const part = this.encodeBatch(images.slice(first, end))
          native().copy(latents.slice(first, end).handle, part.handle)
        })
      }
    })
    return latents
  }

  /**
   * A model's latents [N, C, h, w], f32, at the model's scale → images.
   *
   * @throws {ConfigurationError} for options that are none; {RangeError} for latents of another shape; {NotFiniteError} naming the first that
   *   is decoded to what is no number
   */
  async decode(latents: Tensor, options: DecodeOptions = {}): Promise<DecodedImages> {
    const { rounding } = parseConfiguration(decodeOptions(), options, "the decoding's options")
    const [count, channels, h, w] = latents.shape as [number, number, number, number]
    const { latentChannels, downsampling } = this
    if (latents.shape.length !== 4 || channels !== latentChannels) {
      throw new RangeError(
        `${this.name} decodes latents [N, ${latentChannels}, h, w]; these have shape [${latents.shape}].`,
      )
    }
    const [height, width] = [h * downsampling, w * downsampling]
    const bytes = new Uint8Array(count * height * width * 3)
    const atOnce = this.#isTiled(h, w) ? 1 : this.#atOnce(height * width)
    for (const { first, end } of batchesOf(count, atOnce)) {
      using batch = latents.slice(first, end)
      const images = this.#isTiled(h, w)
        ? await this.#decodeTiles(batch)
        : await this.#whole(() => this.decodeBatch(batch))
      using decoded = images
      using pixels = toUint8(decoded, { range: this.range, rounding })
      await this.#requireFinite(decoded, first)
      bytes.set(await pixels.dataAs('u8'), first * height * width * 3)
    }
    return { bytes, height, width }
  }

  /** @param first the number of the first image */
  async #requireFinite(images: Tensor, first: number): Promise<void> {
    // Of one value that is not finite the mean is none.
    const hasMean = async (some: Tensor) => {
      using average = mean(some)
      return Number.isFinite(await average.item())
    }
    if (await hasMean(images)) return
    for (let i = 0; i < images.shape[0]!; i++) {
      using image = images.slice(i, i + 1)
      if (await hasMean(image)) continue
      throw new NotFiniteError(
        `${this.name} decodes the latents of image ${first + i} of those given (from 0) to what is no finite number; check its weights, the latents, and the precision.`,
      )
    }
  }

  get #storedChannels(): number {
    return this.hasDeviations ? 2 * this.latentChannels : this.latentChannels
  }

  /** Of the latents of square images. */
  #sideOf(size: number): number {
    const { downsampling } = this
    if (size % downsampling === 0) return size / downsampling
    throw new RangeError(
      `${this.name} encodes images whose sides are multiples of ${downsampling}; these are ${size} wide.`,
    )
  }

  #atOnce(pixels: number): number {
    return Math.max(1, Math.floor(this.pixelsAtOnce / pixels))
  }

  #isTiled(h: number, w: number): boolean {
    return this.tile !== undefined && Math.max(h, w) > this.tile
  }

  /** Says how to go on where the whole image does not fit. */
  async #whole<R>(run: () => R | Promise<R>): Promise<R> {
    try {
      return await run()
    } catch (error) {
      if ((error as { code?: unknown }).code !== 'ERR_OUT_OF_MEMORY') throw error
      throw new Error(
        `${(error as Error).message} An autoencoder can also work in tiles, which bounds its memory (\`tile: 64\`).`,
        { cause: error },
      )
    }
  }

  /** Of images whose bytes have the channels fastest. */
  async #encodePixels(images: readonly Uint8Array[], size: number): Promise<Float32Array> {
    const side = size / this.downsampling
    if (!this.#isTiled(side, side)) return await this.#whole(() => this.#encodeBytes(images, size, size))
    const moments: Float32Array[] = []
    for (const image of images) {
      const tiles: Tile[] = []
      for (const place of tilePlaces(side, side, this.tile!)) {
        const pixels = scaled(place, this.downsampling)
        const part = cropBytes(image, size, pixels)
        tiles.push({ place, values: await this.#encodeBytes([part], pixels.rows, pixels.columns) })
      }
      moments.push(blendTiles(tiles, this.#storedChannels, side, side))
    }
    return concat(moments)
  }

  async #encodeBytes(images: readonly Uint8Array[], height: number, width: number): Promise<Float32Array> {
    using moments = scope(() => {
      const planes = planar(Buffer.concat(images), height * width)
      return this.encodeBatch(Tensor.from(planes, [images.length, 3, height, width], this.device))
    })
    return await moments.data()
  }

  /** One image's latents, tile by tile. */
  async #decodeTiles(latents: Tensor): Promise<Tensor> {
    const [, channels, h, w] = latents.shape as [number, number, number, number]
    const { downsampling } = this
    const host = await latents.data()
    const tiles: Tile[] = []
    for (const place of tilePlaces(h, w, this.tile!)) {
      const { top, left, rows, columns } = place
      const part = new Float32Array(channels * rows * columns)
      for (let c = 0; c < channels; c++) {
        for (let y = 0; y < rows; y++) {
          const from = (c * h + top + y) * w + left
          part.set(host.subarray(from, from + columns), (c * rows + y) * columns)
        }
      }
      using tile = Tensor.from(part, [1, channels, rows, columns], this.device)
      using decoded = this.decodeBatch(tile)
      tiles.push({ place: scaled(place, downsampling), values: await decoded.data() })
    }
    const [height, width] = [h * downsampling, w * downsampling]
    return Tensor.from(blendTiles(tiles, 3, height, width), [1, 3, height, width], this.device)
  }
}

/** A tile of latents as a tile of pixels. */
function scaled({ top, left, rows, columns }: TilePlace, factor: number): TilePlace {
  return { top: top * factor, left: left * factor, rows: rows * factor, columns: columns * factor }
}

/** A rectangle of an image [H, W, 3]. */
function cropBytes(image: Uint8Array, width: number, { top, left, rows, columns }: TilePlace): Uint8Array {
  const out = new Uint8Array(rows * columns * 3)
  for (let y = 0; y < rows; y++) {
    const from = ((top + y) * width + left) * 3
    out.set(image.subarray(from, from + columns * 3), y * columns * 3)
  }
  return out
}

function* batchesOf(total: number, size: number): Generator<{ first: number; end: number; count: number }> {
  for (let first = 0; first < total; first += size) {
    const end = Math.min(total, first + size)
    yield { first, end, count: end - first }
  }
}

function concat(parts: readonly Float32Array[]): Float32Array {
  const all = new Float32Array(parts.reduce((length, part) => length + part.length, 0))
  let at = 0
  for (const part of parts) {
    all.set(part, at)
    at += part.length
  }
  return all
}
