import type { Encoder } from '../../src/alignment/encoder.ts'
import type { ComputeDType } from '../../src/tensor/dtype.ts'
import { cast } from '../../src/tensor/ops/cast.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { random } from '../reference/array.ts'

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

/** The same with attention: of three blocks of two heads, one of which a class token has part in. */
export const attentiveEncoder: Encoder & { dtype: ComputeDType } = {
  ...constantEncoder,
  dtype: 'f32',
  attention: { blocks: 3, heads: 2 },
  computeIn(dtype) {
    this.dtype = dtype
  },
  features(images, grid, { attention } = {}) {
    const shape = [images.shape[0]!, 1 + grid[0] * grid[1], 3 * 2 * 8]
    for (let depth = attention?.from ?? 1; depth <= (attention?.to ?? 0); depth++) {
      // The same of every image, whichever process has it.
      const one = random([1, ...shape.slice(1)], depth, 2).data
      const all = Float32Array.from({ length: shape[0]! * one.length }, (_, i) => one[i % one.length]!)
      attention!.show({ qkv: cast(Tensor.from(all, shape, images.device), this.dtype), heads: 2 })
    }
    return constantEncoder.features(images, grid)
  },
}
