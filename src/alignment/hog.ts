import { hog } from '../tensor/ops/pixels.ts'
import type { Tensor } from '../tensor/tensor.ts'
import type { Encoder } from './encoder.ts'

/**
 * The built-in encoder: histogram-of-gradients descriptors with local colour (native/cpu/hog.h). It has no weights, so
 * alignment runs with nothing to download.
 */
export class HogEncoder implements Encoder {
  readonly name = 'hog'
  readonly width = 128

  features(images: Tensor, [rows, columns]: readonly [number, number]): Tensor {
    return hog(images, rows, columns)
  }

  [Symbol.dispose](): void {}
}
