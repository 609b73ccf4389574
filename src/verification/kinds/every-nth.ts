import { elementCount } from '../../tensor/dtype.ts'
import { type HostTensor, hostFloat32, toFloat32 } from '../../tensor/host-tensor.ts'
import type { ManifestTensor } from '../manifest.ts'

/**
 * Of a tensor, every n-th index along an axis, from the first on: golden files of full-size models keep only so much. The
 * description says n ("every 16th token"); where it does not, n is the smallest that keeps as many as the file has.
 */
export function everyNth(
  tensor: HostTensor,
  axis: number,
  { shape: keptShape, desc }: Pick<ManifestTensor, 'shape' | 'desc'>,
): HostTensor {
  const { shape } = tensor
  const length = shape[axis]!
  const kept = keptShape[axis]!
  const n = Number(/\bevery (\d+)(?:st|nd|rd|th)\b/.exec(desc)?.[1] ?? Math.ceil(length / kept))
  if (Math.ceil(length / n) !== kept) {
    throw new Error(
      `Every ${n}th of ${length} along axis ${axis} of a tensor of shape [${shape}] is ${Math.ceil(length / n)}; the file keeps ${kept}.`,
    )
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
