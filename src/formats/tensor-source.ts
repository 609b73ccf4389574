import { DTYPE_BYTES, type DType, elementCount } from '../tensor/dtype.ts'
import { requireBytes, requireUint8Array } from '../tensor/host-tensor.ts'
import { Tensor } from '../tensor/tensor.ts'

/**
 * A tensor to be written: the bytes themselves (little-endian, row-major, as in a HostTensor) or a function that fetches
 * them when their turn comes, so that a file larger than memory can be written.
 */
export interface TensorSource {
  readonly dtype: DType
  readonly shape: readonly number[]
  readonly data: Uint8Array | (() => Promise<Uint8Array>)
  /**
   * The same bytes piece by piece, each valid until the next is asked for, where they can be had so: writers prefer it, as it keeps
   * no tensor in memory.
   */
  readonly pieces?: () => AsyncIterable<Uint8Array>
}

/** Bytes of the tensor; throws where the shape is not one or is too large to count. `what` names it in the error. */
export function sourceByteLength(source: TensorSource, what: string): number {
  // Of a device's tensor `data` is what reads it, and gives numbers.
  if (source instanceof Tensor)
    throw new TypeError(`${what} is on a device; give its values, \`await tensor.toHost()\`.`)
  const { dtype, shape } = source
  if (!Object.hasOwn(DTYPE_BYTES, dtype)) throw new TypeError(`${what} has the unknown dtype '${dtype}'.`)
  if (!shape.every((size) => Number.isSafeInteger(size) && size >= 0)) {
    throw new RangeError(`${what} has the shape [${shape}]; every size must be an integer of at least 0.`)
  }
  const bytes = elementCount(shape) * DTYPE_BYTES[dtype]
  if (!Number.isSafeInteger(bytes)) throw new RangeError(`${what} has the shape [${shape}], which is too large.`)
  if (typeof source.data !== 'function') requireBytes(source, requireUint8Array(source.data, what), what)
  return bytes
}

/** The bytes of the tensor, in one piece or several, checked to be as many as its shape says. */
export async function* sourcePieces(source: TensorSource, what: string): AsyncGenerator<Uint8Array, void, undefined> {
  const expected = elementCount(source.shape) * DTYPE_BYTES[source.dtype]
  if (source.pieces === undefined) {
    const data = requireUint8Array(typeof source.data === 'function' ? await source.data() : source.data, what)
    requireBytes(source, data, what)
    yield data
    return
  }
  let byteLength = 0
  for await (const piece of source.pieces()) {
    byteLength += requireUint8Array(piece, what).byteLength
    if (byteLength > expected) break
    yield piece
  }
  requireBytes(source, { byteLength }, what)
}
