import { native } from '../../native.ts'
import type { ComputeDType } from '../dtype.ts'
import { Tensor } from '../tensor.ts'

/** Images [N, C, H, W] f32 → [N, H, W, C] of `dtype`: what convolutions read. Not differentiable. */
export function channelsLast(images: Tensor, dtype: ComputeDType = 'f32'): Tensor {
  const [count, channels, height, width] = images.shape
  // Patches of one pixel are the pixels' channels.
  using pixels = new Tensor(native().patchify(images.handle, 1, dtype), images.device)
  return pixels.reshape([count!, height!, width!, channels!])
}

/** Images [N, H, W, C] → [N, C, H, W] f32. Not differentiable. */
export function channelsFirst(images: Tensor): Tensor {
  const [count, height, width, channels] = images.shape
  using pixels = images.reshape([count!, height! * width!, channels!])
  return new Tensor(native().unpatchify(pixels.handle, channels!, height!, width!, 1), images.device)
}
