import { INCEPTION_SIZE } from '../models/inception.ts'
import { channelsFirst, channelsLast } from '../tensor/ops/layout.ts'
import { linear } from '../tensor/ops/linear.ts'
import { normalizeImages } from '../tensor/ops/pixels.ts'
import { release, scope } from '../tensor/scope.ts'
import { Tensor } from '../tensor/tensor.ts'

/**
 * Images as the graph of the ADM suite takes them: u8 [N, 3, H, W] → (x − 128) / 128, resized to 299 × 299 by TensorFlow 1's bilinear
 * interpolation without aligned corners: an output pixel y reads at y · H / 299, with no half-pixel offset. → [N, 299, 299, 3] f32.
 */
export function admInceptionInput(images: Tensor): Tensor {
  const [count, channels, height, width] = images.shape as [number, number, number, number]
  return scope(() => {
    const centred = normalizeImages(images, { divisor: 128, mean: [1, 1, 1], std: [1, 1, 1] })
    if (height === INCEPTION_SIZE && width === INCEPTION_SIZE) return channelsLast(centred)
    // Along an axis the interpolation is a product with a matrix of two numbers a row; to bring the other axis last, it takes the
    // channels' place in a change of layout.
    const planes = count * channels
    const wide = product(centred.reshape([planes, height, width]), width, images.device)
    release(centred)
    const turned = channelsLast(wide.reshape([planes, height, 1, INCEPTION_SIZE]))
    release(wide)
    const whole = product(turned, height, images.device)
    release(turned)
    const upright = channelsFirst(whole)
    release(whole)
    return channelsLast(upright.reshape([count, channels, INCEPTION_SIZE, INCEPTION_SIZE]))
  })
}

/** [..., size] → [..., 299]. */
function product(x: Tensor, size: number, device: string): Tensor {
  return linear(x, { weight: Tensor.from(interpolationMatrix(size), [INCEPTION_SIZE, size], device), bias: undefined })
}

/** [299, size], in the float32 arithmetic of TensorFlow's kernel. */
function interpolationMatrix(size: number): Float32Array {
  const matrix = new Float32Array(INCEPTION_SIZE * size)
  const scale = Math.fround(size / INCEPTION_SIZE)
  for (let out = 0; out < INCEPTION_SIZE; out++) {
    const at = Math.fround(out * scale)
    const low = Math.floor(at)
    const high = Math.min(low + 1, size - 1)
    const share = Math.fround(at - low)
    matrix[out * size + low]! += 1 - share
    matrix[out * size + high]! += share
  }
  return matrix
}
