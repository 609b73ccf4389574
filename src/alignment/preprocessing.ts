/** What encoders' images go through first: REPA's train.py, preprocess_raw_image. */
import type { ChannelStatistics } from '../models/image-normalisation.ts'
import { normalizeImages, resizePlanes } from '../tensor/ops/pixels.ts'
import { release, scope } from '../tensor/scope.ts'
import type { Tensor } from '../tensor/tensor.ts'

/**
 * RGB images u8 [B, 3, H, W] → x / 255, normalised by the statistics, and resized: [B, 3, height, width], f32. The resizing is
 * torch's bicubic (a = −0.75, half-pixel centres, no antialias; with `antialias` a = −0.5), and nothing is clamped. Sample points are
 * those of torch 1.13 on a CPU; torch 2 rounds them to float32, by which noise of 256 pixels at 224 differs by 5e-5. REPA resizes CLIP's
 * images before it normalises them and all others after; an interpolation whose weights sum to 1 gives the same in either order.
 */
export function normalizedInput(
  images: Tensor,
  [height, width]: readonly [number, number],
  statistics: ChannelStatistics,
  { antialias = false }: { antialias?: boolean } = {},
): Tensor {
  return scope(() => {
    const normalised = normalizeImages(images, { divisor: 255, ...statistics })
    // At its own size bicubic interpolation is the identity.
    if (images.shape[2] === height && images.shape[3] === width) return normalised
    const resized = resizePlanes(normalised, height, width, { filter: 'bicubic', antialias })
    release(normalised)
    return resized
  })
}
