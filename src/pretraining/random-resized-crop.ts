import type { KeyedRandom } from '../data/keyed-random.ts'
import { mirror } from '../data/mirror.ts'
import { resize } from '../data/resample.ts'
import type { RgbImage } from '../data/rgb-image.ts'
import { toPlanes } from '../tensor/planes.ts'
import type { ImageBatch } from './method.ts'

export interface CropOptions {
  /** Side of the result in pixels. */
  readonly size: number
  /** Share of the image's area that a crop covers, at least and at most. */
  readonly area: readonly [number, number]
  /** Width over height of a crop, at least and at most; its logarithm is uniform. Default: 3/4 to 4/3. */
  readonly aspect?: readonly [number, number]
}

/** A rectangle of an image, in pixels. */
interface Box {
  readonly left: number
  readonly top: number
  readonly width: number
  readonly height: number
}

/** Draws until a box fits into the image before the whole of it is taken (torchvision's RandomResizedCrop). */
const ATTEMPTS = 10

/** `randomResizedCrop` of every image of a batch: u8 [count, 3, size, size]. */
export function randomResizedCrops(images: ImageBatch, options: CropOptions, random: KeyedRandom): Uint8Array {
  const length = 3 * options.size ** 2
  const out = new Uint8Array(images.count * length)
  for (let i = 0; i < images.count; i++) toPlanes(randomResizedCrop(images, i, options, random), out, i * length)
  return out
}

/** torchvision's RandomResizedCrop with Pillow's bicubic filter, then a mirror image with even chances, of one image of a batch. */
export function randomResizedCrop(
  images: ImageBatch,
  index: number,
  options: CropOptions,
  random: KeyedRandom,
): RgbImage {
  const { size } = options
  const box = drawBox(images.size, options, random)
  const isMirrored = random.uniform() < 0.5
  const resized = resize(crop(images, index, box), size, size, 'bicubic')
  if (isMirrored) mirror(resized.data, size, 3, resized.data)
  return resized
}

function drawBox(side: number, { area, aspect = [3 / 4, 4 / 3] }: CropOptions, random: KeyedRandom): Box {
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const covered = side * side * random.uniform(...area)
    const ratio = Math.exp(random.uniform(Math.log(aspect[0]), Math.log(aspect[1])))
    const width = Math.round(Math.sqrt(covered * ratio))
    const height = Math.round(Math.sqrt(covered / ratio))
    if (width < 1 || height < 1 || width > side || height > side) continue
    const top = Math.floor(random.uniform(0, side - height + 1))
    const left = Math.floor(random.uniform(0, side - width + 1))
    return { left, top, width, height }
  }
  return { left: 0, top: 0, width: side, height: side }
}

/** A rectangle of one image of a batch of planes, channels fastest. */
function crop({ data, size }: ImageBatch, index: number, { left, top, width, height }: Box) {
  const area = size * size
  const first = index * 3 * area
  const pixels = new Uint8Array(width * height * 3)
  let o = 0
  for (let y = top; y < top + height; y++) {
    for (let s = first + y * size + left, end = s + width; s < end; s++, o += 3) {
      pixels[o] = data[s]!
      pixels[o + 1] = data[s + area]!
      pixels[o + 2] = data[s + 2 * area]!
    }
  }
  return { width, height, data: pixels }
}
