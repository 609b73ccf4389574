import { constants } from 'node:buffer'
import { DTYPE_BYTES, type DType, elementCount } from '../tensor/dtype.ts'
import type { HostTensor } from '../tensor/host-tensor.ts'
import type { AtomicWriteOptions } from './atomic-file.ts'
import { FileFormatError } from './errors.ts'
import { NPY_PREFIX_BYTES, type NpyHeader, npyHeader, parseNpy, parseNpyHeader } from './npy.ts'
import { decodeNumpyArray } from './numpy-dtype.ts'
import { STORED } from './zip-format.ts'
import { ZipFile } from './zip-reader.ts'
import { type ZipEntryWriter, ZipWriter } from './zip-writer.ts'

const SUFFIX = '.npy'

/** A `.npz` file, as np.savez and np.savez_compressed write it: arrays by name, read when they are asked for. */
export class NpzFile {
  readonly path: string
  /** Without their `.npy`, in the file's order. */
  readonly names: readonly string[]
  readonly #zip: ZipFile

  private constructor(zip: ZipFile) {
    this.path = zip.path
    this.#zip = zip
    this.names = [...zip.entries.keys()]
      .filter((name) => name.endsWith(SUFFIX))
      .map((name) => name.slice(0, -SUFFIX.length))
  }

  static async open(path: string): Promise<NpzFile> {
    return new NpzFile(await ZipFile.open(path))
  }

  /** An array's dtype (as `read` gives it) and shape, without reading it. */
  async describe(name: string): Promise<{ readonly dtype: DType; readonly shape: readonly number[] }> {
    const { numpy, shape } = await this.#header(name)
    return { dtype: numpy.dtype, shape }
  }

  /** Reads a whole array: see `readNpy` for what it may hold. */
  async read(name: string): Promise<HostTensor> {
    return parseNpy(await this.#zip.read(this.#entryName(name), { maxBytes: MAX_ARRAY_BYTES }), this.path, quoted(name))
  }

  /**
   * The array in pieces of up to `rows` along its first axis, in order and in bounded memory, for arrays that do not fit.
   * The archive's checksum is compared after the last piece.
   *
   * @throws FileFormatError for scalars and Fortran-ordered arrays, which have no rows to go by.
   */
  async *batches(name: string, rows: number): AsyncGenerator<HostTensor> {
    if (!Number.isSafeInteger(rows) || rows < 1) throw new RangeError(`A batch of ${rows} rows cannot be read.`)
    const header = await this.#header(name)
    const { numpy, shape, fortranOrder, dataOffset, byteLength } = header
    if (shape.length === 0 || (fortranOrder && shape.length > 1)) {
      const kind = fortranOrder ? 'in Fortran order' : 'a scalar'
      throw new FileFormatError(this.path, `${quoted(name)} is ${kind} and cannot be read by rows.`)
    }
    this.#requireLength(name, header)
    const rowBytes = shape[0] === 0 ? 0 : byteLength / shape[0]!
    const tensor = (data: Uint8Array) => {
      return decodeNumpyArray(numpy, [data.length / rowBytes, ...shape.slice(1)], false, data)
    }
    let batch = new Uint8Array(Math.min(rows, shape[0]!) * rowBytes)
    let filled = 0
    let skip = dataOffset
    let left = byteLength
    for await (const chunk of this.#zip.stream(this.#entryName(name))) {
      const skipped = Math.min(skip, chunk.length)
      skip -= skipped
      for (let at = skipped; at < chunk.length; ) {
        const count = Math.min(batch.length - filled, chunk.length - at)
        batch.set(chunk.subarray(at, at + count), filled)
        at += count
        filled += count
        if (filled < batch.length) continue
        left -= filled
        yield tensor(batch)
        batch = new Uint8Array(Math.min(left, rows * rowBytes))
        filled = 0
      }
    }
  }

  async close(): Promise<void> {
    await this.#zip.close()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  async #header(name: string): Promise<NpyHeader> {
    const entryName = this.#entryName(name)
    const entry = this.#zip.entries.get(entryName)!
    const length = Math.min(entry.size, NPY_PREFIX_BYTES)
    if (entry.method === STORED) {
      return parseNpyHeader(await this.#zip.readRange(entryName, 0, length), this.path, quoted(name))
    }
    const prefix = new Uint8Array(length)
    let filled = 0
    for await (const chunk of this.#zip.stream(entryName)) {
      const count = Math.min(chunk.length, length - filled)
      prefix.set(chunk.subarray(0, count), filled)
      filled += count
      if (filled === length) break
    }
    return parseNpyHeader(prefix.subarray(0, filled), this.path, quoted(name))
  }

  #requireLength(name: string, { dataOffset, byteLength }: NpyHeader): void {
    const { size } = this.#zip.entries.get(this.#entryName(name))!
    if (size === dataOffset + byteLength) return
    throw new FileFormatError(
      this.path,
      `${quoted(name)} holds ${size - dataOffset} bytes, but its shape takes ${byteLength}.`,
    )
  }

  #entryName(name: string): string {
    const entryName = `${name}${SUFFIX}`
    if (this.#zip.entries.has(entryName)) return entryName
    throw new FileFormatError(this.path, `there is no ${quoted(name)}; there is ${this.names.join(', ') || 'none'}.`)
  }
}

/** Node's largest buffer; larger arrays are read in batches. */
const MAX_ARRAY_BYTES = constants.MAX_LENGTH

/** Writes a `.npz` file that np.load reads, array by array. It appears under its name when it is closed. */
export class NpzWriter {
  readonly #zip: ZipWriter

  private constructor(zip: ZipWriter) {
    this.#zip = zip
  }

  static async create(path: string, options: AtomicWriteOptions = {}): Promise<NpzWriter> {
    return new NpzWriter(await ZipWriter.create(path, options))
  }

  async add(name: string, tensor: HostTensor): Promise<void> {
    const array = await this.open(name, tensor.dtype, tensor.shape)
    await array.append(tensor.data)
    await array.close()
  }

  /**
   * Begins an array whose bytes come bit by bit, in row-major order: ADM's sample files are one `arr_0` of 50,000 images
   * that no memory holds. One array is open at a time.
   */
  async open(name: string, dtype: DType, shape: readonly number[]): Promise<NpzArrayWriter> {
    const header = npyHeader({ dtype, shape })
    const size = elementCount(shape) * DTYPE_BYTES[dtype]
    const entry = await this.#zip.open(`${name}${SUFFIX}`, header.length + size)
    await entry.write(header)
    return new NpzArrayWriter(entry)
  }

  /** Finishes the file. @throws Error if an array is still open. */
  async close(): Promise<void> {
    await this.#zip.close()
  }

  /** Gives up: nothing is left behind. */
  async abort(): Promise<void> {
    await this.#zip.abort()
  }
}

/** One array of a `.npz` file that is being written. */
export class NpzArrayWriter {
  readonly #entry: ZipEntryWriter

  /** @internal Made by NpzWriter.open. */
  constructor(entry: ZipEntryWriter) {
    this.#entry = entry
  }

  /** The next bytes, any number of them. @throws RangeError past the array's shape. */
  async append(data: Uint8Array): Promise<void> {
    await this.#entry.write(data)
  }

  /** @throws RangeError if bytes are missing. */
  async close(): Promise<void> {
    await this.#entry.close()
  }
}

function quoted(name: string): string {
  return `array ${JSON.stringify(name)}`
}
