import { DTYPE_BYTES, type DType, elementCount } from '../tensor/dtype.ts'

/**
 * A tensor to be written: the bytes themselves (little-endian, row-major, as in a HostTensor) or a function that fetches
 * them when their turn comes, so that a file larger than memory can be written.
 */
export interface TensorSource {
  readonly dtype: DType
  readonly shape: readonly number[]
  readonly data: Uint8Array | (() => Promise<Uint8Array>)
}

/** Bytes of the tensor; throws where the shape is not one or is too large to count. `what` names it in the error. */
export function sourceByteLength(source: TensorSource, what: string): number {
  const { dtype, shape } = source
  if (!Object.hasOwn(DTYPE_BYTES, dtype)) throw new TypeError(`${what} has the unknown dtype '${dtype}'.`)
  if (!shape.every((size) => Number.isSafeInteger(size) && size >= 0)) {
    throw new RangeError(`${what} has the shape [${shape}]; every size must be an integer of at least 0.`)
  }
  const bytes = elementCount(shape) * DTYPE_BYTES[dtype]
  if (!Number.isSafeInteger(bytes)) throw new RangeError(`${what} has the shape [${shape}], which is too large.`)
  if (source.data instanceof Uint8Array) requireBytes(source, source.data, bytes, what)
  return bytes
}

/** The bytes of the tensor, fetched if need be and checked to be as many as its shape says. */
export async function sourceBytes(source: TensorSource, what: string): Promise<Uint8Array> {
  const data = source.data instanceof Uint8Array ? source.data : await source.data()
  requireBytes(source, data, elementCount(source.shape) * DTYPE_BYTES[source.dtype], what)
  return data
}

function requireBytes(source: TensorSource, data: Uint8Array, expected: number, what: string): void {
  if (data.byteLength === expected) return
  throw new RangeError(
    `${what} holds ${data.byteLength} bytes, but ${source.dtype} [${source.shape}] takes ${expected} bytes.`,
  )
}
