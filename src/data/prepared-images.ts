import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { listImages } from './dataset-listing.ts'
import { LAYOUT } from './layout.ts'
import { mirror } from './mirror.ts'
import { mapInOrder } from './ordered-map.ts'
import { readPixels } from './prepared-image.ts'

/** The images of a data set, as the steps after the first read them. */
export interface PreparedImages {
  readonly folder: string
  /** Relative to `images/`, by index. */
  readonly names: readonly string[]
  /** The number that each name ends in: its latent has the same. */
  readonly numbers: readonly number[]
  readonly labels: readonly number[]
  /** Side of the square images in pixels. */
  readonly size: number
}

/** Consecutive images, by index. */
export interface ImageRange {
  readonly begin: number
  readonly end: number
}

/** Consecutive images: their pixels, each `size × size × 3` bytes, channels fastest. */
export interface PixelBatch extends ImageRange {
  readonly images: readonly Uint8Array[]
}

/** @throws {Error} if images or labels are missing, or the first image is not square */
export async function openPreparedImages(out: string): Promise<PreparedImages> {
  const { names, numbers, labels } = await listImages(out)
  const folder = join(out, LAYOUT.images)
  const { width, height } = await readPixels(join(folder, names[0]!))
  if (width !== height) {
    throw new Error(`'${names[0]}' in '${folder}' is ${width}×${height} pixels; the images must be square.`)
  }
  return { folder, names, numbers, labels, size: width }
}

/** What a range consists of, `size` images each but for the last. */
export function cutIntoBatches({ begin, end }: ImageRange, size: number): ImageRange[] {
  return Array.from({ length: Math.ceil((end - begin) / size) }, (_, i) => ({
    begin: begin + i * size,
    end: Math.min(end, begin + (i + 1) * size),
  }))
}

/** The pixels of these images, range by range; one is decoded while another is in use. */
export async function* pixelBatches(
  { folder, names, size }: PreparedImages,
  ranges: readonly ImageRange[],
): AsyncGenerator<PixelBatch, void, undefined> {
  const read = async (name: string): Promise<Uint8Array> => {
    const { width, height, data } = await readPixels(join(folder, name))
    if (width === size && height === size) return data
    throw new Error(`The image '${join(folder, name)}' is ${width}×${height} pixels; the first is ${size}×${size}.`)
  }
  const wanted = ranges.flatMap(({ begin, end }) => names.slice(begin, end))
  const largest = ranges.reduce((most, { begin, end }) => Math.max(most, end - begin), 0)
  let next = 0
  let images: Uint8Array[] = []
  for await (const pixels of mapInOrder(wanted, largest + availableParallelism(), read)) {
    images.push(pixels)
    const { begin, end } = ranges[next]!
    if (images.length < end - begin) continue
    yield { begin, end, images }
    next++
    images = []
  }
}

/** The batch's mirror images. */
export function mirrored({ images }: PixelBatch, size: number): Uint8Array[] {
  return images.map((pixels) => mirror(pixels, size, 3))
}
