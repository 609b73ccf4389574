import { DTYPE_BYTES, type DType, elementCount } from './dtype.ts'

/** A tensor in host memory, as files hold it: little-endian, row-major, contiguous. */
export interface HostTensor {
  readonly dtype: DType
  readonly shape: readonly number[]
  /** Exactly `elementCount(shape) * DTYPE_BYTES[dtype]` bytes. */
  readonly data: Uint8Array
}

/** Wraps float32 values, without a copy. */
export function hostFloat32(values: Float32Array, shape: readonly number[]): HostTensor {
  if (values.length !== elementCount(shape)) {
    throw new RangeError(`hostFloat32: ${values.length} values do not fill the shape [${shape}].`)
  }
  return { dtype: 'f32', shape, data: new Uint8Array(values.buffer, values.byteOffset, values.byteLength) }
}

/** Wraps float64 values, without a copy. */
export function hostFloat64(values: Float64Array, shape: readonly number[]): HostTensor {
  if (values.length !== elementCount(shape)) {
    throw new RangeError(`hostFloat64: ${values.length} values do not fill the shape [${shape}].`)
  }
  return { dtype: 'f64', shape, data: new Uint8Array(values.buffer, values.byteOffset, values.byteLength) }
}

/**
 * The elements as float32: a view where dtype and alignment allow, else a converted copy. `i64` beyond 2^24 rounds.
 *
 * @throws {TypeError} for a dtype or data that are none, {RangeError} where the bytes are not as many as the shape says
 */
export function toFloat32(tensor: HostTensor): Float32Array {
  requireHostTensor(tensor)
  const { data, dtype } = tensor
  const count = elementCount(tensor.shape)
  if (dtype === 'f32' && data.byteOffset % 4 === 0) return new Float32Array(data.buffer, data.byteOffset, count)
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength)
  const out = new Float32Array(count)
  const bytes = DTYPE_BYTES[dtype]
  const read = reader(view, dtype)
  for (let i = 0; i < count; i++) out[i] = read(i * bytes)
  return out
}

/** A view of more than the bytes that there are would be of what lies behind them in their buffer. */
function requireHostTensor(tensor: HostTensor): void {
  if (!Object.hasOwn(DTYPE_BYTES, tensor.dtype)) {
    throw new TypeError(`A tensor of files has the unknown dtype ${tensor.dtype}.`)
  }
  requireBytes(tensor, requireUint8Array(tensor.data, 'A tensor of files'), 'A tensor of files')
}

/** Of wider elements a file would get each one's last byte, as many as there are elements. `what` names the tensor in the error. */
export function requireUint8Array(data: unknown, what: string): Uint8Array {
  if (data instanceof Uint8Array) return data
  const came = typeof data === 'object' && data !== null ? data.constructor.name : typeof data
  throw new TypeError(`${what} gives its bytes as ${came}; expected Uint8Array.`)
}

/** @throws {RangeError} where there are not as many bytes as dtype and shape take; `what` names the tensor in it */
export function requireBytes(
  { dtype, shape }: Pick<HostTensor, 'dtype' | 'shape'>,
  data: { readonly byteLength: number },
  what: string,
): void {
  const expected = elementCount(shape) * DTYPE_BYTES[dtype]
  if (data.byteLength === expected) return
  throw new RangeError(`${what} holds ${data.byteLength} bytes, but ${dtype} [${shape}] takes ${expected} bytes.`)
}

/** One element, by its row-major index. `i64` beyond 2^53 rounds. */
export function elementAt(tensor: HostTensor, index: number): number {
  const { data, dtype } = tensor
  return reader(new DataView(data.buffer, data.byteOffset, data.byteLength), dtype)(index * DTYPE_BYTES[dtype])
}

function reader(view: DataView, dtype: DType): (offset: number) => number {
  switch (dtype) {
    case 'f64':
      return (o) => view.getFloat64(o, true)
    case 'f32':
      return (o) => view.getFloat32(o, true)
    case 'bf16':
      return (o) => bfloat16ToNumber(view.getUint16(o, true))
    case 'f16':
      return (o) => float16ToNumber(view.getUint16(o, true))
    case 'i64':
      return (o) => Number(view.getBigInt64(o, true))
    case 'i32':
      return (o) => view.getInt32(o, true)
    case 'i16':
      return (o) => view.getInt16(o, true)
    case 'i8':
      return (o) => view.getInt8(o)
    case 'u8':
    case 'bool':
      return (o) => view.getUint8(o)
    default:
      return dtype satisfies never
  }
}

const word = new DataView(new ArrayBuffer(4))

/** bfloat16 is the upper half of a float32. */
export function bfloat16ToNumber(bits: number): number {
  word.setUint32(0, bits << 16)
  return word.getFloat32(0)
}

/** IEEE 754 binary16, subnormals, infinities and NaN included. */
export function float16ToNumber(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1
  const exponent = (bits >> 10) & 0x1f
  const fraction = bits & 0x3ff
  if (exponent === 0) return sign * fraction * 2 ** -24
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15)
}
