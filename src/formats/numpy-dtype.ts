import { DTYPE_BYTES, type DType, elementCount } from '../tensor/dtype.ts'
import type { HostTensor } from '../tensor/host-tensor.ts'
import { dataViewOf, swapByteOrder } from './byte-order.ts'
import { toContiguous } from './strided.ts'

/** How the elements of a NumPy array lie in its bytes (numpy.dtype.str, "array-protocol type string"). */
export interface NumpyDtype {
  /** What they become. Unsigned integers of 2 and 4 bytes have no dtype of their own and are widened, exactly. */
  readonly dtype: DType
  readonly itemBytes: number
  readonly bigEndian: boolean
}

const DTYPE_OF_CODE: Readonly<Record<string, DType>> = {
  f2: 'f16',
  f4: 'f32',
  f8: 'f64',
  i1: 'i8',
  i2: 'i16',
  i4: 'i32',
  i8: 'i64',
  u1: 'u8',
  u2: 'i32',
  u4: 'i64',
  b1: 'bool',
}

const CODE_OF_DTYPE: Partial<Record<DType, string>> = {
  f16: '<f2',
  f32: '<f4',
  f64: '<f8',
  i8: '|i1',
  i16: '<i2',
  i32: '<i4',
  i64: '<i8',
  u8: '|u1',
  bool: '|b1',
}

/** Reads a type string such as `<f4`. @throws RangeError that reads on after the array's name. */
export function parseNumpyDtype(descr: string): NumpyDtype {
  const [, order, code] = /^([<>=|]?)([a-zA-Z?]\d*)$/.exec(descr) ?? []
  if (code?.startsWith('O')) {
    throw new RangeError(
      'is an array of Python objects, which only code could rebuild; save numbers, without allow_pickle.',
    )
  }
  const dtype = code !== undefined && Object.hasOwn(DTYPE_OF_CODE, code) ? DTYPE_OF_CODE[code] : undefined
  if (code === undefined || dtype === undefined) {
    const known = Object.keys(DTYPE_OF_CODE).join(', ')
    throw new RangeError(`has the NumPy dtype ${JSON.stringify(descr)}; known are ${known}.`)
  }
  return { dtype, itemBytes: Number(code.slice(1)), bigEndian: order === '>' }
}

/** The type string of a dtype. @throws RangeError for bf16, which NumPy does not have. */
export function numpyDescr(dtype: DType): string {
  const descr = CODE_OF_DTYPE[dtype]
  if (descr === undefined) throw new RangeError(`NumPy has no ${dtype}; convert the tensor to f32 first.`)
  return descr
}

/** The bytes of a whole NumPy array as a tensor: little-endian, row-major. May reuse, and then change, `bytes`. */
export function decodeNumpyArray(
  numpy: NumpyDtype,
  shape: readonly number[],
  fortranOrder: boolean,
  bytes: Uint8Array,
): HostTensor {
  if (numpy.bigEndian) swapByteOrder(bytes, numpy.itemBytes)
  let data = numpy.itemBytes === DTYPE_BYTES[numpy.dtype] ? bytes : widenUnsigned(numpy, bytes)
  if (fortranOrder && shape.length > 1) {
    let step = 1
    const stride = shape.map((size) => {
      const own = step
      step *= size
      return own
    })
    data = toContiguous(data, shape, stride, DTYPE_BYTES[numpy.dtype])
  }
  return { dtype: numpy.dtype, shape, data }
}

/** Bytes that an array takes in a file. @throws RangeError where that cannot be counted. */
export function numpyByteLength(numpy: NumpyDtype, shape: readonly number[]): number {
  const bytes = elementCount(shape) * numpy.itemBytes
  if (!shape.every((size) => Number.isSafeInteger(size) && size >= 0) || !Number.isSafeInteger(bytes)) {
    throw new RangeError(`has the shape (${shape.join(', ')}), which cannot be.`)
  }
  return bytes
}

function widenUnsigned(numpy: NumpyDtype, bytes: Uint8Array): Uint8Array {
  const count = bytes.length / numpy.itemBytes
  const source = dataViewOf(bytes)
  const target = new Uint8Array(count * DTYPE_BYTES[numpy.dtype])
  const view = dataViewOf(target)
  for (let i = 0; i < count; i++) {
    if (numpy.itemBytes === 2) view.setInt32(4 * i, source.getUint16(2 * i, true), true)
    else view.setBigInt64(8 * i, BigInt(source.getUint32(4 * i, true)), true)
  }
  return target
}
