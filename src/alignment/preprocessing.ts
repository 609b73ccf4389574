/** What encoders' images go through first: REPA's train.py, preprocess_raw_image. */
import { normalizeImages, resizePlanes } from '../tensor/ops/pixels.ts'
import { release, scope } from '../tensor/scope.ts'
import type { Tensor } from '../tensor/tensor.ts'

/** ImageNet's mean and standard deviation of the channels of [0, 1]. */
const IMAGENET = { divisor: 255, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] } as const

/**
 * RGB images u8 [B, 3, H, W] → x / 255, normalised by ImageNet's statistics, and only then resized: [B, 3, height, width], f32.
 * The resizing is torch's bicubic (a = −0.75, half-pixel centres, no antialias), and nothing is clamped.
 */
export function imageNetInput(images: Tensor, [height, width]: readonly [number, number]): Tensor {
  return scope(() => {
    const normalised = normalizeImages(images, IMAGENET)
    // At its own size bicubic interpolation is the identity.
    if (images.shape[2] === height && images.shape[3] === width) return normalised
    const resized = resizePlanes(normalised, height, width, { filter: 'bicubic' })
    release(normalised)
    return resized
  })
}
