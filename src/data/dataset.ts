import { join } from 'node:path'
import { requirePath } from '../configuration/path-argument.ts'
import { isThere } from '../formats/if-there.ts'
import type { LatentStatistics } from '../formats/latent-statistics.ts'
import { readNpy } from '../formats/npy.ts'
import { type HostTensor, toFloat32 } from '../tensor/host-tensor.ts'
import { requireMaker, requireOpenOptions, requireTarget, requireWanted } from './dataset-arguments.ts'
import { digestOfListing } from './dataset-digest.ts'
import type { FeatureSettings } from './dataset-info.ts'
import type { DatasetListing, OpenDatasetOptions } from './dataset-listing.ts'
import { FeatureStore } from './feature-store.ts'
import { DEFAULT_LATENT_SCALE } from './latent-encoder.ts'
import type { LatentShards } from './latent-shards.ts'
import { LAYOUT } from './layout.ts'
import { mirror } from './mirror.ts'
import { readPlanes } from './prepared-image.ts'

/** What a data set has as latents: the posterior of an autoencoder, points of one that has no deviation, or the pixels themselves. */
export type LatentKind = 'moments' | 'points' | 'pixels'

export interface Sample {
  readonly index: number
  readonly label: number
  /** `[3, S, S]` bytes. */
  readonly image?: Uint8Array
  /** `moments`: `[2C, h, w]`, mean then standard deviation, not scaled. `points`: `[C, h, w]`. `pixels`: `[3, S, S]`, x/127.5 − 1. */
  readonly latent?: Float32Array
}

/** What makes latents of images: an `Autoencoder`, of which a data set needs to know this. */
export interface LatentMaker {
  readonly name: string
  readonly latentChannels: number
  /** Pixels per latent element along one side. */
  readonly downsampling: number
  readonly latentScale: number
  readonly hasDeviations: boolean
}

/** Where `Dataset.readInto` writes: buffers of exactly one sample's length. */
export interface SampleTarget {
  readonly image?: Uint8Array
  readonly latent?: Float32Array
  /** Whether the mirror image is read instead. */
  readonly flipped?: boolean
}

/** x/127.5 − 1 in float32, each operation rounded as the reference's tensors are. */
const PIXEL_LATENTS = Float32Array.from({ length: 256 }, (_, x) => Math.fround(x / 127.5) - 1)

/** The latent of an image whose pixels are its latent. Both have the same length. */
export function pixelsToLatent(image: Uint8Array, latent: Float32Array): void {
  for (let i = 0; i < image.length; i++) latent[i] = PIXEL_LATENTS[image[i]!]!
}

/**
 * A prepared data set, in the layout of `prepareDataset` or of the reference's tools: `images/`, and `vae-sd/` where
 * there are latents. Image and latent belong together by the number in their names, `img00000012.png` and
 * `img-mean-std-00000012.npy`. Labels come from `vae-sd/dataset.json` or, where that is not there, from
 * `images/dataset.json`. Or latents alone, as LightningDiT's code keeps them (latent-shards.ts).
 */
export class Dataset {
  /** The folder. */
  readonly path: string
  readonly length: number
  /** The number of classes: that of the class names where they are known, else one more than the largest label. */
  readonly classes: number
  readonly classNames: readonly string[] | undefined
  /** Whether there are images; latents alone can be trained on without encoders. */
  readonly hasImages: boolean
  readonly latentKind: LatentKind
  /** `[C, h, w]` of one latent sample. `moments` store twice as many channels. */
  readonly latentShape: readonly [number, number, number]
  /**
   * What latents of kind `moments` are multiplied by when they are drawn from their posterior: as dataset-info.json says, else
   * 0.18215, the reference's for the Stable Diffusion VAE. Points and pixels are taken as they are.
   */
  readonly latentScale: number
  /** What is taken for granted of the data and may be wrong: a sentence for the user. */
  readonly notice: string | undefined
  /** The class of each sample. */
  readonly labels: Int32Array
  /**
   * The captions of each sample, none, one or several of them (captions.json); undefined where the set has none, as LightningDiT's latents,
   * or was opened without them.
   */
  readonly captions: readonly (readonly string[])[] | undefined
  /** Whether a sample's mirror image can be read in its place. */
  readonly flip: boolean
  /** Encoders whose features are there: `openFeatures`. */
  readonly features: readonly FeatureSettings[]
  /** Name of what makes the latents, from the images that are read; undefined where they are read themselves. */
  readonly encodedBy: string | undefined
  /** By which latents without images are standardised as they are read. */
  readonly statistics: LatentStatistics | undefined
  readonly #listing: DatasetListing
  readonly #imageSize: number | undefined
  readonly #shards: LatentShards | undefined

  private constructor(
    listing: DatasetListing,
    imageSize: number | undefined,
    storedShape: readonly number[] | undefined,
    { encodedBy, shards }: { readonly encodedBy?: string; readonly shards?: LatentShards } = {},
  ) {
    this.#listing = listing
    this.#imageSize = imageSize
    this.#shards = shards
    this.statistics = shards?.statistics
    this.hasImages = imageSize !== undefined
    this.encodedBy = encodedBy
    this.path = listing.path
    this.length = listing.labels.length
    this.labels = listing.labels
    this.captions = listing.captions
    this.classNames = listing.classNames
    this.classes = listing.classNames?.length ?? listing.labels.reduce((max, label) => Math.max(max, label), 0) + 1
    this.latentScale = listing.latentScale ?? DEFAULT_LATENT_SCALE
    this.flip = listing.flip
    this.features = listing.features
    this.latentKind = storedShape === undefined ? 'pixels' : listing.hasDeviations ? 'moments' : 'points'
    const [channels, height, width] = storedShape ?? [3, imageSize!, imageSize!]
    this.latentShape = [this.latentKind === 'moments' ? channels! / 2 : channels!, height!, width!]
    if (listing.latentScale === undefined && storedShape && this.latentShape[0] !== STABLE_DIFFUSION_CHANNELS) {
      this.notice =
        `Nothing in ${this.path} states the scale of its latents, which have ${this.latentShape[0]} channels: they are taken times ` +
        `${DEFAULT_LATENT_SCALE}, which is right for those of the Stable Diffusion VAE, of ${STABLE_DIFFUSION_CHANNELS}; ` +
        'repa prepare states that of its autoencoder.'
    } else if (shards && !shards.statistics) {
      this.notice =
        `Nothing in ${this.path} states by what its latents are standardised: they are taken as they are. Put latents_stats.pt beside ` +
        "them, which LightningDiT's code writes, if that is not meant."
    }
  }

  /**
   * Opens a prepared data set, or a folder of LightningDiT's latents (latent-shards.ts). Reads the names, labels, captions and the first sample;
   * the others are checked against it when they are read.
   *
   * @throws {Error} if the folder is no whole prepared set, an image has no latent or the other way round, or its mirror image none, a label
   *   is missing or out of range, or captions.json is not of these images
   */
  static async open(path: string, options: OpenDatasetOptions = {}): Promise<Dataset> {
    requirePath(path, 'the folder of Dataset.open')
    requireOpenOptions(options)
    if (!(await isThere(join(path, LAYOUT.images)))) {
      const { LatentShards } = await import('./latent-shards.ts')
      const shards = await LatentShards.namesIn(path)
      if (shards) return Dataset.#ofShards(await LatentShards.open(path, shards))
    }
    const { listDataset } = await import('./dataset-listing.ts')
    const listing = await listDataset(path, options)
    const { size } = await readPlanes(join(path, LAYOUT.images, listing.images[0]!))
    if (size[0] !== size[1]) {
      throw new Error(`'${listing.images[0]}' in '${path}' is ${size[1]}×${size[0]} pixels; the images must be square.`)
    }
    if (!listing.latents) return new Dataset(listing, size[0], undefined)
    const file = join(path, LAYOUT.latents, listing.latents[0]!)
    const first = await readNpy(file)
    const { dtype, shape } = first
    const { hasDeviations } = listing
    if (dtype !== 'f32' || shape.length !== 3 || (hasDeviations && shape[0]! % 2 !== 0) || shape.includes(0)) {
      const expected = hasDeviations ? '[2C, h, w], mean then deviation,' : '[C, h, w]'
      throw new Error(`The latent '${file}' is ${dtype} of shape [${shape}]; f32 of shape ${expected} was expected.`)
    }
    if (hasDeviations) requireDeviations(file, first)
    return new Dataset(listing, size[0], shape)
  }

  static #ofShards(shards: LatentShards): Dataset {
    const { path, labels, flip, shape } = shards
    const points = {
      latents: undefined,
      latentSettings: undefined,
      latentScale: 1,
      hasDeviations: false,
      captions: undefined,
    }
    const listing = { path, images: [], labels, classNames: undefined, flip, features: [], ...points }
    return new Dataset(listing, undefined, shape, { shards })
  }

  /** A data set of which only this is known, for planning: nothing can be read from it. `storedLatentShape` undefined: pixels. */
  static described(description: {
    readonly path: string
    readonly length: number
    readonly classes: number
    readonly imageSize: number
    readonly storedLatentShape: readonly [number, number, number] | undefined
    /** False: latents are points. Default: true. */
    readonly hasDeviations?: boolean
    readonly flip?: boolean
    readonly features?: Dataset['features']
    /** True: every sample has captions, of which the texts are not known: `captions` holds empty lists. Default: false. */
    readonly captions?: boolean
  }): Dataset {
    const { path, length, classes, imageSize, storedLatentShape } = description
    const { hasDeviations = true, flip = false, features = [], captions = false } = description
    const classNames = Array.from({ length: classes }, (_, index) => String(index))
    const listing = {
      path,
      images: new Array<string>(length),
      latents: undefined,
      latentSettings: undefined,
      labels: new Int32Array(length),
      // Of values, of which a plan has none.
      latentScale: 1,
      hasDeviations,
      classNames,
      flip,
      features,
      captions: captions ? Array.from({ length }, () => []) : undefined,
    }
    return new Dataset(listing, imageSize, storedLatentShape)
  }

  /**
   * The same data set with latents that are made of its images, whatever latents it holds: `latentKind`, `latentShape` and `latentScale` are
   * theirs, and images alone are read.
   *
   * @throws {RangeError} where the images have no whole number of latent elements
   */
  encoded(maker: LatentMaker): Dataset {
    requireMaker(maker)
    const { name, latentChannels, downsampling, latentScale, hasDeviations } = maker
    if (this.imageSize % downsampling !== 0) {
      throw new RangeError(
        `The images in ${this.path} are ${this.imageSize} pixels wide; ${name} encodes such as are multiples of ${downsampling}.`,
      )
    }
    const side = this.imageSize / downsampling
    const channels = hasDeviations ? 2 * latentChannels : latentChannels
    const listing = { ...this.#listing, latents: undefined, latentSettings: undefined, latentScale, hasDeviations }
    return new Dataset(listing, this.imageSize, [channels, side, side], { encodedBy: name })
  }

  /**
   * SHA-256 of what tells this set from others without reading its samples: names, labels, shapes, what made its latents and features. Of
   * copies of a set it is the same. Takes a quarter of a second for 1.28 million samples.
   */
  get digest(): string {
    const { storedLatentShape, statistics } = this
    return digestOfListing(this.#listing, {
      storedLatentShape,
      imageSize: this.#imageSize,
      classNames: this.classNames,
      statistics: statistics && { mean: [...statistics.mean], std: [...statistics.std] },
    })
  }

  /** S: the side of the square images in pixels. @throws {Error} where there are no images */
  get imageSize(): number {
    if (this.#imageSize !== undefined) return this.#imageSize
    throw new Error(
      `'${this.path}' holds latents without their images, which are needed here; name a set that repa prepare has made of images.`,
    )
  }

  /** Bytes of one image: 3 · S · S. */
  get imageLength(): number {
    return 3 * this.imageSize * this.imageSize
  }

  /** Shape of what is stored as the latent of one sample: `[2C, h, w]` for `moments`, `[C, h, w]` for `points`, `[3, S, S]` for `pixels`. */
  get storedLatentShape(): readonly [number, number, number] {
    const [channels, height, width] = this.latentShape
    return this.latentKind === 'moments' ? [2 * channels, height, width] : this.latentShape
  }

  /** Reads the wanted parts of one sample. */
  async read(index: number, wanted: { image: boolean; latent: boolean }): Promise<Sample> {
    requireWanted(wanted)
    const image = wanted.image ? new Uint8Array(this.imageLength) : undefined
    const latent = wanted.latent ? new Float32Array(this.#latentLength) : undefined
    await this.readInto(index, { ...(image && { image }), ...(latent && { latent }) })
    return { index, label: this.labels[index]!, ...(image && { image }), ...(latent && { latent }) }
  }

  /** As `read`, into buffers of the caller: `imageLength` bytes, and as many floats as `storedLatentShape` holds. */
  async readInto(index: number, target: SampleTarget): Promise<void> {
    requireTarget(target, { image: this.hasImages ? this.imageLength : undefined, latent: this.#latentLength })
    const { image, latent, flipped = false } = target
    if (!(Number.isInteger(index) && index >= 0 && index < this.length)) {
      throw new RangeError(`There is no sample ${index} in '${this.path}', which has ${this.length}.`)
    }
    if (flipped && !this.flip) throw new Error(`'${this.path}' was not prepared with mirror images.`)
    if (latent && this.encodedBy !== undefined) {
      throw new Error(`The latents of '${this.path}' are made of its images, by ${this.encodedBy}; none can be read.`)
    }
    if (this.latentKind !== 'pixels') {
      await Promise.all([
        image && this.#readImage(index, image, flipped),
        latent && this.#readLatent(index, latent, flipped),
      ])
      return
    }
    const pixels = image ?? (latent && new Uint8Array(this.imageLength))
    if (!pixels) return
    await this.#readImage(index, pixels, flipped)
    if (latent) pixelsToLatent(pixels, latent)
  }

  get #latentLength(): number {
    const [channels, height, width] = this.storedLatentShape
    return channels * height * width
  }

  /** The cached features of one of `features`; the caller closes it. */
  openFeatures(settings: FeatureSettings): Promise<FeatureStore> {
    return FeatureStore.open(this.path, settings, this.length, this.flip)
  }

  async #readImage(index: number, out: Uint8Array, flipped: boolean): Promise<void> {
    const file = join(this.path, LAYOUT.images, this.#listing.images[index]!)
    const { data, size } = await readPlanes(file)
    if (size[0] !== this.imageSize || size[1] !== this.imageSize) {
      throw new Error(
        `The image '${file}' is ${size[1]}×${size[0]} pixels; the first of the set is ${this.imageSize}×${this.imageSize}.`,
      )
    }
    if (flipped) mirror(data, this.imageSize, 1, out)
    else out.set(data)
  }

  async #readLatent(index: number, out: Float32Array, flipped: boolean): Promise<void> {
    if (this.#shards) return this.#shards.readInto(index, flipped, out)
    const folder = flipped ? LAYOUT.flippedLatents : LAYOUT.latents
    const file = join(this.path, folder, this.#listing.latents![index]!)
    const { dtype, shape, data } = await readNpy(file)
    const expected = this.storedLatentShape
    if (dtype !== 'f32' || shape.join() !== expected.join()) {
      throw new Error(`The latent '${file}' is ${dtype} of shape [${shape}]; the set holds f32 of shape [${expected}].`)
    }
    // Byte by byte, for which the file's floats need not be aligned.
    new Uint8Array(out.buffer, out.byteOffset, out.byteLength).set(data)
  }
}

/** Of the autoencoder whose scale the reference takes for every one's. */
const STABLE_DIFFUSION_CHANNELS = 4

/**
 * Other tools store sampled latents [C, h, w], or the log-variance in the deviation's place, as REPA's own branch for text does. Their
 * shapes are those of moments, but no deviation is negative.
 */
function requireDeviations(file: string, moments: HostTensor): void {
  const values = toFloat32(moments)
  const negative = values.subarray(values.length / 2).find((value) => value < 0)
  if (negative === undefined) return
  throw new Error(
    `The latent '${file}' of shape [${moments.shape}] has ${negative} among the deviations, its second half of channels. ` +
      'Latents by themselves, and means with log-variances, are not read as [2C, h, w], mean then deviation: make them so, or encode the images anew.',
  )
}
