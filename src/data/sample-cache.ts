import { type Dataset, pixelsToLatent, type SampleTarget } from './dataset.ts'

/**
 * The decoded samples of a small data set, kept in memory as they are first read: the images as bytes and the moments as
 * floats. Latents that are the pixels themselves are made from the image again, a quarter of the memory.
 */
export class SampleCache {
  readonly #images: Uint8Array | undefined
  readonly #moments: Float32Array | undefined
  readonly #imageLength: number
  readonly #momentsLength: number
  readonly #isFilled: Uint8Array

  private constructor(dataset: Dataset, images: boolean) {
    this.#imageLength = images ? dataset.imageLength : 0
    this.#momentsLength = momentsLength(dataset)
    if (images) this.#images = new Uint8Array(dataset.length * this.#imageLength)
    if (this.#momentsLength > 0) this.#moments = new Float32Array(dataset.length * this.#momentsLength)
    this.#isFilled = new Uint8Array(dataset.length)
  }

  /** A cache for the wanted parts of a data set, or undefined where they would need more than `maxBytes`. */
  static create(dataset: Dataset, wanted: { images: boolean }, maxBytes: number): SampleCache | undefined {
    const images = wanted.images || dataset.latentKind === 'pixels'
    const bytes = dataset.length * ((images ? dataset.imageLength : 0) + 4 * momentsLength(dataset) + 1)
    return bytes <= maxBytes ? new SampleCache(dataset, images) : undefined
  }

  /** Copies a sample into the target; false where it has not been read yet. */
  copyTo(index: number, { image, latent }: SampleTarget): boolean {
    if (this.#isFilled[index] !== 1) return false
    const pixels = this.#images?.subarray(index * this.#imageLength, (index + 1) * this.#imageLength)
    if (image) image.set(pixels!)
    if (latent && this.#moments) {
      latent.set(this.#moments.subarray(index * this.#momentsLength, (index + 1) * this.#momentsLength))
    } else if (latent) pixelsToLatent(pixels!, latent)
    return true
  }

  /** Reads a sample into the cache. */
  async fill(dataset: Dataset, index: number): Promise<void> {
    const image = this.#images?.subarray(index * this.#imageLength, (index + 1) * this.#imageLength)
    const latent = this.#moments?.subarray(index * this.#momentsLength, (index + 1) * this.#momentsLength)
    await dataset.readInto(index, { ...(image && { image }), ...(latent && { latent }) })
    this.#isFilled[index] = 1
  }
}

/** Floats of the stored posterior of one sample; 0 where the latents are the pixels. */
function momentsLength(dataset: Dataset): number {
  if (dataset.latentKind === 'pixels') return 0
  const [channels, height, width] = dataset.storedLatentShape
  return channels * height * width
}
