import { roundHalfEven } from '../tensor/round-half-even.ts'
import { halve, resize } from './resample.ts'
import { cropImage, type RgbImage } from './rgb-image.ts'

/**
 * How a picture of any size becomes a square training image, named as the reference dataset tool names them:
 * - `center-crop-dhariwal`: the crop of ADM, DiT and REPA: halve with a box filter while the shorter side is at least
 *   twice the target, scale the shorter side to the target (bicubic), take the middle.
 * - `center-crop`: the middle square, scaled with Lanczos.
 * - `center-crop-wide`: the middle rows, scaled with Lanczos to a strip, on a black square.
 * - `none`: the whole picture scaled with Lanczos, its aspect ratio not kept.
 */
export const TRANSFORMS = ['center-crop-dhariwal', 'center-crop', 'center-crop-wide', 'none'] as const

export type Transform = (typeof TRANSFORMS)[number]

/** What images become where nobody says it: REPA's. */
export const DEFAULT_TRANSFORM: Transform = 'center-crop-dhariwal'
export const DEFAULT_SIZE = 256

/**
 * Applies a transform.
 *
 * @param size side of the square result in pixels
 * @param wideHeight height of the strip of `center-crop-wide`; the other transforms do not read it
 * @returns a `size × size` image, or undefined where `center-crop-wide` finds the picture too small to fill the strip
 */
export function transformImage(
  image: RgbImage,
  transform: Transform,
  size: number,
  wideHeight = size,
): RgbImage | undefined {
  switch (transform) {
    case 'center-crop-dhariwal':
      return centerCropDhariwal(image, size)
    case 'center-crop':
      return centerCrop(image, size)
    case 'center-crop-wide':
      return centerCropWide(image, size, wideHeight)
    case 'none':
      return resizeIfNeeded(image, size, size)
    default:
      return transform satisfies never
  }
}

/** `center_crop_arr` of openai/guided-diffusion, which DiT, SiT and REPA share. */
export function centerCropDhariwal(image: RgbImage, size: number): RgbImage {
  while (Math.min(image.width, image.height) >= 2 * size) image = halve(image)
  const scale = size / Math.min(image.width, image.height)
  const width = roundHalfEven(image.width * scale)
  const height = roundHalfEven(image.height * scale)
  const left = Math.floor((width - size) / 2)
  const top = Math.floor((height - size) / 2)
  if (width === image.width && height === image.height) return cropImage(image, left, top, size, size)
  return resize(image, width, height, 'bicubic', { left, top, width: size, height: size })
}

function centerCrop(image: RgbImage, size: number): RgbImage {
  const side = Math.min(image.width, image.height)
  const left = Math.floor((image.width - side) / 2)
  const top = Math.floor((image.height - side) / 2)
  return resizeIfNeeded(cropImage(image, left, top, side, side), size, size)
}

/**
 * Takes the middle round(width · H / W) rows of a W × H picture, scales them to `width × height` and centres them on a
 * black `width × width` square. The rule is the reference tool's; the strip keeps its aspect ratio only by chance.
 * Undefined where the picture is narrower than `width` or those rows are fewer than `height`.
 */
function centerCropWide(image: RgbImage, width: number, height: number): RgbImage | undefined {
  if (height > width) {
    throw new RangeError(`center-crop-wide: the strip's height ${height} must not exceed the square's side ${width}.`)
  }
  const rows = roundHalfEven((width * image.height) / image.width)
  if (image.width < width || rows < height) return undefined
  const top = Math.floor((image.height - rows) / 2)
  const strip = resizeIfNeeded(cropImage(image, 0, top, image.width, rows), width, height)
  const data = new Uint8Array(width * width * 3)
  data.set(strip.data, Math.floor((width - height) / 2) * width * 3)
  return { width, height: width, data }
}

function resizeIfNeeded(image: RgbImage, width: number, height: number): RgbImage {
  if (image.width === width && image.height === height) return image
  return resize(image, width, height, 'lanczos')
}
