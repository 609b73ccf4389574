import { type Dataset, pixelsToLatent, type SampleTarget } from './dataset.ts'
import { mirror } from './mirror.ts'

/** Parts of a sample. */
interface Wanted {
  readonly images: boolean
  readonly latents: boolean
}

/**
 * The decoded samples of a small data set, kept in memory as they are first read: the images as bytes and stored latents as
 * floats. Latents that are the pixels themselves are made from the image again, a quarter of the memory, and mirror images from
 * the images.
 */
export class SampleCache {
  readonly #images: Uint8Array | undefined
  readonly #latents: Float32Array | undefined
  readonly #imageLength: number
  readonly #imageSize: number
  readonly #latentLength: number
  /** 2 where stored latents of the mirror images are wanted: each sample's follow its own. */
  readonly #variants: number
  readonly #isFilled: Uint8Array

  private constructor(dataset: Dataset, { images, latents }: Wanted) {
    this.#imageLength = images ? dataset.imageLength : 0
    this.#imageSize = images ? dataset.imageSize : 0
    this.#latentLength = latents ? latentLength(dataset) : 0
    this.#variants = variantsOf(dataset, latents)
    if (images) this.#images = new Uint8Array(dataset.length * this.#imageLength)
    if (this.#latentLength > 0) {
      this.#latents = new Float32Array(dataset.length * this.#variants * this.#latentLength)
    }
    this.#isFilled = new Uint8Array(dataset.length * this.#variants)
  }

  /** A cache for the wanted parts of a data set, or undefined where they would need more than `maxBytes`. */
  static create(dataset: Dataset, wanted: Wanted, maxBytes: number): SampleCache | undefined {
    const { latents } = wanted
    const images = wanted.images || (latents && dataset.latentKind === 'pixels')
    const latentBytes = variantsOf(dataset, latents) * (4 * (latents ? latentLength(dataset) : 0) + 1)
    const bytes = dataset.length * ((images ? dataset.imageLength : 0) + latentBytes)
    return bytes <= maxBytes ? new SampleCache(dataset, { images, latents }) : undefined
  }

  /** Copies a sample into the target; false where it has not been read yet. */
  copyTo(index: number, { image, latent, flipped = false }: SampleTarget): boolean {
    if (this.#isFilled[this.#slot(index, flipped)] !== 1) return false
    const pixels = this.#images?.subarray(index * this.#imageLength, (index + 1) * this.#imageLength)
    const shown = flipped && pixels ? mirror(pixels, this.#imageSize, 1, image) : pixels
    if (image && image !== shown) image.set(shown!)
    if (latent && this.#latents) latent.set(this.#storedOf(index, flipped)!)
    else if (latent) pixelsToLatent(shown!, latent)
    return true
  }

  /** Reads a sample, or its mirror image, into the cache. */
  async fill(dataset: Dataset, index: number, flipped: boolean): Promise<void> {
    const image = this.#images?.subarray(index * this.#imageLength, (index + 1) * this.#imageLength)
    const latent = this.#storedOf(index, flipped)
    // The image is kept as it is, whichever is wanted.
    await Promise.all([
      image && dataset.readInto(index, { image }),
      latent && dataset.readInto(index, { latent, flipped }),
    ])
    this.#isFilled[this.#slot(index, flipped)] = 1
  }

  /** Without stored latents a sample and its mirror image are one. */
  #slot(index: number, flipped: boolean): number {
    return index * this.#variants + (flipped ? this.#variants - 1 : 0)
  }

  #storedOf(index: number, flipped: boolean): Float32Array | undefined {
    const slot = this.#slot(index, flipped)
    return this.#latents?.subarray(slot * this.#latentLength, (slot + 1) * this.#latentLength)
  }
}

function variantsOf(dataset: Dataset, latents: boolean): number {
  return latents && dataset.flip && dataset.latentKind !== 'pixels' ? 2 : 1
}

/** Floats of what is stored as the latent of one sample; 0 where the latents are the pixels. */
function latentLength(dataset: Dataset): number {
  if (dataset.latentKind === 'pixels') return 0
  const [channels, height, width] = dataset.storedLatentShape
  return channels * height * width
}
