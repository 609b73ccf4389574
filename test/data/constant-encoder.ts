import type { Encoder } from '../../src/alignment/encoder.ts'
import { Tensor } from '../../src/tensor/tensor.ts'

/** As wide as the projectors of the tiny models give. */
export const constantEncoder: Encoder = {
  name: 'constant',
  width: 8,
  features: (images, [rows, columns]) => Tensor.full([images.shape[0]!, rows * columns, 8], 0.5, images.device),
  [Symbol.dispose]() {},
}

/** The same with a class token. */
export const classTokenEncoder: Encoder = {
  ...constantEncoder,
  hasClassToken: true,
  features: (images, [rows, columns], { classToken = false } = {}) =>
    Tensor.full([images.shape[0]!, (classToken ? 1 : 0) + rows * columns, 8], 0.5, images.device),
}
