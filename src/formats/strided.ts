import { elementCount } from '../tensor/dtype.ts'

/** The strides, in elements, of a row-major tensor: what "contiguous" means. */
export function contiguousStride(shape: readonly number[]): number[] {
  const stride = new Array<number>(shape.length)
  let step = 1
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    stride[axis] = step
    step *= Math.max(shape[axis]!, 1)
  }
  return stride
}

/** Whether elements follow one another in row-major order; the stride of an axis of size 1 does not matter. */
export function isContiguous(shape: readonly number[], stride: readonly number[]): boolean {
  const contiguous = contiguousStride(shape)
  return elementCount(shape) === 0 || shape.every((size, axis) => size === 1 || stride[axis] === contiguous[axis])
}

/** How many elements lie between the first and the last, both included; 0 for an empty tensor. */
export function stridedExtent(shape: readonly number[], stride: readonly number[]): number {
  if (elementCount(shape) === 0) return 0
  return shape.reduce((extent, size, axis) => extent + (size - 1) * stride[axis]!, 1)
}

/**
 * Copies a strided tensor to row-major order. `source` begins with the first element; sizes are in elements, and
 * `stridedExtent` of them must be there.
 */
export function toContiguous(
  source: Uint8Array,
  shape: readonly number[],
  stride: readonly number[],
  elementBytes: number,
): Uint8Array {
  const target = new Uint8Array(elementCount(shape) * elementBytes)
  const rank = shape.length
  if (target.length === 0) return target
  // A run is the longest tail of axes that is contiguous in the source: copied as one piece.
  let runAxes = 0
  let runElements = 1
  while (runAxes < rank) {
    const axis = rank - 1 - runAxes
    if (shape[axis] !== 1 && stride[axis] !== runElements) break
    runElements *= shape[axis]!
    runAxes++
  }
  const outer = rank - runAxes
  const runBytes = runElements * elementBytes
  const index = new Array<number>(outer).fill(0)
  let from = 0
  for (let to = 0; to < target.length; to += runBytes) {
    const begin = from * elementBytes
    if (runBytes === elementBytes) for (let b = 0; b < elementBytes; b++) target[to + b] = source[begin + b]!
    else target.set(source.subarray(begin, begin + runBytes), to)
    for (let axis = outer - 1; axis >= 0; axis--) {
      index[axis]!++
      from += stride[axis]!
      if (index[axis]! < shape[axis]!) break
      from -= stride[axis]! * shape[axis]!
      index[axis] = 0
    }
  }
  return target
}
