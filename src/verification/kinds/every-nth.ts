import { elementCount } from '../../tensor/dtype.ts'
import { type HostTensor, hostFloat32, toFloat32 } from '../../tensor/host-tensor.ts'

/**
 * Of a tensor, every n-th index along an axis, from the first on: golden files of full-size models keep only so much. How
 * many were kept fixes n: the smallest with which an axis of that length gives so many.
 */
export function everyNth(tensor: HostTensor, axis: number, kept: number): HostTensor {
  const { shape } = tensor
  const length = shape[axis]!
  const n = Math.ceil(length / kept)
  if (Math.ceil(length / n) !== kept) {
    throw new Error(`No even choice along axis ${axis} of a tensor of shape [${shape}] keeps ${kept} of ${length}.`)
  }
  const outer = elementCount(shape.slice(0, axis))
  const inner = elementCount(shape.slice(axis + 1))
  const all = toFloat32(tensor)
  const out = new Float32Array(outer * kept * inner)
  for (let o = 0; o < outer; o++) {
    for (let k = 0; k < kept; k++) {
      const from = (o * length + k * n) * inner
      out.set(all.subarray(from, from + inner), (o * kept + k) * inner)
    }
  }
  return hostFloat32(out, [...shape.slice(0, axis), kept, ...shape.slice(axis + 1)])
}
