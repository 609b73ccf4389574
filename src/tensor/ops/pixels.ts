import { native } from '../../native.ts'
import { Tensor } from '../tensor.ts'
import { channelsLast } from './layout.ts'

/** u8 [B, 3, H, W] → (x / divisor − mean[c]) / std[c]. */
export function normalizeImages(
  images: Tensor,
  { divisor, mean, std }: { divisor: number; mean: readonly number[]; std: readonly number[] },
): Tensor {
  return new Tensor(native().normalizeImages(images.handle, divisor, mean, std), images.device)
}

/** u8 [B, 3, H, W] → x / divisor − mean, f32 [B, H, W, 3]: what an autoencoder's first convolution reads. */
export function imageInput(images: Tensor, { divisor, mean }: { divisor: number; mean: number }): Tensor {
  using values = normalizeImages(images, { divisor, mean: [mean, mean, mean], std: [1, 1, 1] })
  return channelsLast(values)
}

/** The level of 255 that a pixel becomes: the one below, or the nearest, where a half is the one above. */
export const PIXEL_ROUNDINGS = ['down', 'nearest'] as const
export type PixelRounding = (typeof PIXEL_ROUNDINGS)[number]

/**
 * Images [B, C, H, W] in `range`, [−1, 1] → u8 [B, H, W, C], clamped. Down is as REPA writes them, (x + 1) / 2 · 255, truncated; nearest as
 * DiT's code does and the original SiT's, 127.5 x + 128, truncated.
 */
export function toUint8(
  images: Tensor,
  {
    range: [low, high] = [-1, 1],
    rounding = 'down',
  }: { readonly range?: readonly [number, number]; readonly rounding?: PixelRounding } = {},
): Tensor {
  const scale = 255 / (high - low)
  const [shift, offset] = rounding === 'down' ? [-low, 0] : [0, 128 - (scale * (low + high)) / 2]
  return new Tensor(native().toUint8(images.handle, shift, scale, offset), images.device)
}

/** Histogram-of-gradients descriptors [B, gridHeight·gridWidth, 128] of u8 [B, 3, H, W]. */
export function hog(images: Tensor, gridHeight: number, gridWidth: number): Tensor {
  return new Tensor(native().hog(images.handle, gridHeight, gridWidth), images.device)
}

/** torch's interpolate(align_corners=False) of planes [N, C, h, w] → [N, C, height, width]. */
export function resizePlanes(
  x: Tensor,
  height: number,
  width: number,
  options: { filter: 'bilinear' | 'bicubic'; antialias?: boolean; scale?: readonly [number, number] },
): Tensor {
  const [count, channels, h, w] = x.shape
  using planes = x.reshape([count! * channels!, h!, w!, 1])
  using resized = resizeGrid(planes, height, width, options)
  return resized.reshape([count!, channels!, height, width])
}

/** As resizePlanes for [N, h, w, C]: a table of positions is [1, h, w, D]. `scale`: input pixels per output pixel. */
export function resizeGrid(
  x: Tensor,
  height: number,
  width: number,
  {
    filter,
    antialias = false,
    scale = [0, 0],
  }: { filter: 'bilinear' | 'bicubic'; antialias?: boolean; scale?: readonly [number, number] },
): Tensor {
  return new Tensor(native().resize(x.handle, height, width, filter, antialias, scale[0], scale[1]), x.device)
}
