import { readFile } from 'node:fs/promises'

/** An array of a .npy file: float32 (`<f4`) or bytes (`|u1`), row by row. */
export interface NpyArray {
  readonly shape: readonly number[]
  readonly data: Float32Array | Uint8Array
}

const MAGIC = '\x93NUMPY'

/** Reads a .npy file (NumPy enhancement proposal 1) of little-endian float32 or uint8 in C order. */
export async function readNpy(path: string): Promise<NpyArray> {
  const bytes = await readFile(path)
  const fail = (reason: string): never => {
    throw new Error(`Cannot read the array '${path}': ${reason}.`)
  }
  if (bytes.length < 12 || bytes.toString('latin1', 0, 6) !== MAGIC) fail('it is not a .npy file')
  const wide = bytes[6]! >= 2
  const start = wide ? 12 : 10
  const end = start + (wide ? bytes.readUInt32LE(8) : bytes.readUInt16LE(8))
  const header = bytes.toString('latin1', start, end)
  const descr = /'descr': *'([^']+)'/.exec(header)?.[1]
  const shapeText = /'shape': *\(([\d, ]*)\)/.exec(header)?.[1]
  if (end > bytes.length || descr === undefined || shapeText === undefined) return fail('its header is damaged')
  if (!header.includes("'fortran_order': False")) fail('it is in Fortran order; save it in C order')
  if (descr !== '<f4' && descr !== '|u1') fail(`its dtype is '${descr}', not float32 or uint8`)
  const shape = shapeText.split(',').flatMap((size) => (size.trim() === '' ? [] : [Number(size)]))
  const count = shape.reduce((product, size) => product * size, 1)
  const length = count * (descr === '<f4' ? 4 : 1)
  if (bytes.length - end !== length) {
    fail(`its shape [${shape}] needs ${length} bytes of data, and ${bytes.length - end} are there`)
  }
  if (descr === '|u1') return { shape, data: bytes.subarray(end) }
  // A copy where the file's bytes landed unaligned in a pooled buffer.
  const from = bytes.byteOffset + end
  const data =
    from % 4 === 0
      ? new Float32Array(bytes.buffer, from, count)
      : new Float32Array(bytes.buffer.slice(from, from + length))
  return { shape, data }
}

/** The bytes of a version 1.0 .npy file, as `numpy.save` writes them: the data starts at a multiple of 64. */
export function encodeNpy(data: Float32Array, shape: readonly number[]): Uint8Array {
  const tuple = shape.length === 1 ? `${shape[0]},` : shape.join(', ')
  const dictionary = `{'descr': '<f4', 'fortran_order': False, 'shape': (${tuple}), }`
  const headerBytes = Math.ceil((10 + dictionary.length + 1) / 64) * 64 - 10
  const out = Buffer.alloc(10 + headerBytes + data.byteLength)
  out.write(`${MAGIC}\x01\x00`, 0, 'latin1')
  out.writeUInt16LE(headerBytes, 8)
  out.write(`${dictionary.padEnd(headerBytes - 1)}\n`, 10, 'latin1')
  out.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), 10 + headerBytes)
  return out
}
