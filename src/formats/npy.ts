import { DTYPE_BYTES, elementCount } from '../tensor/dtype.ts'
import type { HostTensor } from '../tensor/host-tensor.ts'
import { dataViewOf } from './byte-order.ts'
import { FileFormatError } from './errors.ts'
import { parseNpyDictionary } from './npy-dictionary.ts'
import { decodeNumpyArray, type NumpyDtype, numpyByteLength, numpyDescr, parseNumpyDtype } from './numpy-dtype.ts'
import { RandomAccessFile } from './random-access-file.ts'

/** "\x93NUMPY" (numpy/lib/format.py describes the format). */
const MAGIC = [0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59] as const

/** The data starts at a multiple of this. */
const ALIGNMENT = 64

/** Of the text that describes the array; NumPy itself refuses headers over 10,000 characters by default. */
const MAX_HEADER_BYTES = 65_536

/** Bytes that hold the header of any array which is accepted here. */
export const NPY_PREFIX_BYTES = MAGIC.length + 6 + MAX_HEADER_BYTES

export interface NpyHeader {
  readonly numpy: NumpyDtype
  readonly shape: readonly number[]
  readonly fortranOrder: boolean
  /** Where the data begins. */
  readonly dataOffset: number
  /** Of the data. */
  readonly byteLength: number
}

/**
 * Reads the header of an array from its first bytes: versions 1.0 to 3.0.
 * @param path for error messages, as `part` ("" for a file that is one array).
 */
export function parseNpyHeader(bytes: Uint8Array, path: string, part = ''): NpyHeader {
  const fail = (problem: string): never => {
    throw new FileFormatError(path, `${part === '' ? 'the array' : part} ${problem}`)
  }
  if (bytes.length < MAGIC.length + 4 || !MAGIC.every((byte, i) => bytes[i] === byte)) {
    return fail('is not in the npy format: it does not begin with "\\x93NUMPY".')
  }
  const view = dataViewOf(bytes)
  const major = bytes[6]!
  if (major < 1 || major > 3) return fail(`is of npy version ${major}.${bytes[7]}; 1.0 to 3.0 are read.`)
  const lengthBytes = major === 1 ? 2 : 4
  const headerStart = MAGIC.length + 2 + lengthBytes
  if (bytes.length < headerStart) return fail('is truncated inside its header.')
  const headerBytes = major === 1 ? view.getUint16(8, true) : view.getUint32(8, true)
  if (headerBytes > MAX_HEADER_BYTES) return fail(`has a header of ${headerBytes} bytes; it is damaged.`)
  const dataOffset = headerStart + headerBytes
  if (bytes.length < dataOffset) return fail('is truncated inside its header.')
  const text = Buffer.from(bytes.subarray(headerStart, dataOffset)).toString(major === 3 ? 'utf8' : 'latin1')
  try {
    const { descr, fortranOrder, shape } = parseNpyDictionary(text)
    const numpy = parseNumpyDtype(descr)
    return { numpy, shape, fortranOrder, dataOffset, byteLength: numpyByteLength(numpy, shape) }
  } catch (error) {
    return fail((error as Error).message)
  }
}

/** Reads a whole array from the bytes of a `.npy` file. The tensor may share, and change, the bytes. */
export function parseNpy(bytes: Uint8Array, path: string, part = ''): HostTensor {
  const header = parseNpyHeader(bytes, path, part)
  const surplus = bytes.length - header.dataOffset - header.byteLength
  if (surplus !== 0) {
    const fault = surplus < 0 ? `is truncated: ${-surplus} bytes are missing.` : `has ${surplus} bytes too many.`
    throw new FileFormatError(path, `${part === '' ? 'the array' : part} ${fault}`)
  }
  const data = bytes.subarray(header.dataOffset)
  return decodeNumpyArray(header.numpy, header.shape, header.fortranOrder, data)
}

/**
 * Reads a `.npy` file: f2 f4 f8, i1 i2 i4 i8, u1 and bool as they are, u2 and u4 widened to i32 and i64; big-endian and
 * Fortran-ordered arrays become little-endian and row-major. Arrays of Python objects are refused.
 */
export async function readNpy(path: string): Promise<HostTensor> {
  await using file = await RandomAccessFile.open(path)
  return parseNpy(await file.read(0, file.size), path)
}

/** The bytes before the data of a row-major array, in version 1.0. @throws RangeError for bf16. */
export function npyHeader(tensor: Pick<HostTensor, 'dtype' | 'shape'>): Uint8Array {
  const { dtype, shape } = tensor
  // A tuple of one has a comma in Python.
  const tuple = shape.length === 1 ? `(${shape[0]},)` : `(${shape.join(', ')})`
  const text = `{'descr': '${numpyDescr(dtype)}', 'fortran_order': False, 'shape': ${tuple}, }`
  const start = MAGIC.length + 4
  const total = Math.ceil((start + text.length + 1) / ALIGNMENT) * ALIGNMENT
  const header = new Uint8Array(total).fill(0x20)
  header.set(MAGIC)
  header.set([1, 0], MAGIC.length)
  dataViewOf(header).setUint16(MAGIC.length + 2, total - start, true)
  header.set(Buffer.from(text, 'latin1'), start)
  header[total - 1] = 0x0a
  return header
}

/** The bytes of a `.npy` file, as `numpy.save` writes them. @throws RangeError for bf16. */
export function encodeNpy(tensor: HostTensor): Uint8Array {
  requireWhole(tensor)
  const header = npyHeader(tensor)
  const bytes = new Uint8Array(header.length + tensor.data.length)
  bytes.set(header)
  bytes.set(tensor.data, header.length)
  return bytes
}

function requireWhole({ dtype, shape, data }: HostTensor): void {
  const expected = elementCount(shape) * DTYPE_BYTES[dtype]
  if (data.length !== expected) {
    throw new RangeError(`A tensor ${dtype} [${shape}] takes ${expected} bytes, but holds ${data.length}.`)
  }
}
