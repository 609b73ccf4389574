import { join } from 'node:path'
import { decodeImage } from '../data/image-decoding.ts'
import { openImageSource } from '../data/image-sources.ts'
import { mapInOrder } from '../data/ordered-map.ts'
import type { NpzFile } from '../formats/npz.ts'

/** Images of one size. */
export interface ImageBatch {
  /** [count, height, width, 3], bytes. */
  readonly pixels: Uint8Array
  readonly count: number
  readonly height: number
  readonly width: number
}

/** Images that are read in order, a batch at a time, and are all of one size. */
export interface ImageSet extends AsyncDisposable {
  readonly path: string
  readonly count: number
  /** The next images, at most `size` of them; a set of no fewer than `size` gives whole batches but the last. */
  batches(size: number): AsyncGenerator<ImageBatch>
}

/** The array that the ADM suite's batches of images are. */
export const IMAGES_ARRAY = 'arr_0'
/** Images that are decoded at a time. */
const DECODED_AT_ONCE = 8

/**
 * The images of a folder or zip archive, sorted by their path, at any depth.
 *
 * @throws Error for what holds no images; `batches` throws where one is damaged or of another size than the first
 */
export async function openImageSet(path: string): Promise<ImageSet> {
  const source = await openImageSource(path, { unlabelled: true })
  return {
    path,
    count: source.images.length,
    [Symbol.asyncDispose]: () => source.close(),
    async *batches(size) {
      let first: { name: string; width: number; height: number } | undefined
      let pixels = new Uint8Array(0)
      let filled = 0
      const decoded = mapInOrder(source.images, DECODED_AT_ONCE, async (image) => ({
        name: image.name,
        ...(await decodeImage(await source.read(image), join(path, image.name))),
      }))
      for await (const { name, width, height, data } of decoded) {
        first ??= { name, width, height }
        if (width !== first.width || height !== first.height) {
          throw new Error(
            `${path}: '${name}' is ${width}×${height} pixels and '${first.name}' ${first.width}×${first.height}; images that are compared must be of one size. repa prepare crops them to one.`,
          )
        }
        if (filled === 0) pixels = new Uint8Array(size * data.length)
        pixels.set(data, filled * data.length)
        filled++
        if (filled < size) continue
        yield { pixels, count: filled, height, width }
        filled = 0
      }
      if (first && filled > 0) {
        const { height, width } = first
        yield { pixels: pixels.subarray(0, filled * height * width * 3), count: filled, height, width }
      }
    },
  }
}

/**
 * The images of an npz file's `arr_0`, u8 [N, H, W, 3]. Takes the file over.
 *
 * @throws Error where it has none
 */
export async function openNpzImages(file: NpzFile): Promise<ImageSet> {
  try {
    if (!file.names.includes(IMAGES_ARRAY)) {
      throw new Error(
        `${file.path} has no array ${IMAGES_ARRAY} (images, u8 [N, H, W, 3]) and no statistics (mu and sigma); it has ${file.names.join(', ') || 'none'}.`,
      )
    }
    const { dtype, shape } = await file.describe(IMAGES_ARRAY)
    const [count, height, width, channels] = shape
    if (dtype !== 'u8' || shape.length !== 4 || channels !== 3 || shape.includes(0)) {
      throw new Error(
        `${file.path}: ${IMAGES_ARRAY} is ${dtype} of shape [${shape}]; expected images, u8 [N, H, W, 3].`,
      )
    }
    return {
      path: file.path,
      count: count!,
      [Symbol.asyncDispose]: () => file.close(),
      async *batches(size) {
        for await (const { data, shape: batch } of file.batches(IMAGES_ARRAY, size)) {
          yield { pixels: data, count: batch[0]!, height: height!, width: width! }
        }
      },
    }
  } catch (error) {
    await file.close()
    throw error
  }
}
