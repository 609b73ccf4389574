import { crc32 } from 'node:zlib'
import type { DType } from '../tensor/dtype.ts'
import type { HostTensor } from '../tensor/host-tensor.ts'
import { FileFormatError } from './errors.ts'
import { RandomAccessFile } from './random-access-file.ts'
import {
  CHECKSUM_KEY,
  LENGTH_BYTES,
  MAX_HEADER_BYTES,
  parseHeader,
  type SafetensorsHeader,
  type TensorLocation,
} from './safetensors-header.ts'

export interface SafetensorsEntry {
  readonly dtype: DType
  readonly shape: readonly number[]
  readonly byteLength: number
}

/**
 * A safetensors file. Opening reads and checks the header alone, whatever the file's size; the tensors are read by range
 * when asked for. Where the file was written with checksums, each tensor is verified as it is read.
 */
export class SafetensorsFile {
  readonly path: string
  /** The header's `__metadata__`; it has no prototype, so any key is safe to look up. */
  readonly metadata: Readonly<Record<string, string>>
  /** In the header's order. */
  readonly tensors: ReadonlyMap<string, SafetensorsEntry>
  readonly #file: RandomAccessFile
  readonly #locations: ReadonlyMap<string, TensorLocation>
  readonly #dataStart: number
  readonly #checksums: ReadonlyMap<string, number> | undefined

  private constructor(
    file: RandomAccessFile,
    header: SafetensorsHeader,
    dataStart: number,
    checksums: ReadonlyMap<string, number> | undefined,
  ) {
    this.path = file.path
    this.metadata = header.metadata
    this.tensors = header.tensors
    this.#file = file
    this.#locations = header.tensors
    this.#dataStart = dataStart
    this.#checksums = checksums
  }

  /**
   * @throws FileFormatError where the header or its agreement with the file's size is wrong: every dtype, shape and
   *   offset is checked, and the tensors must cover the data exactly.
   */
  static async open(path: string): Promise<SafetensorsFile> {
    const file = await RandomAccessFile.open(path)
    try {
      const headerLength = await readHeaderLength(file)
      const dataStart = LENGTH_BYTES + headerLength
      const header = parseHeader(path, await file.read(LENGTH_BYTES, headerLength), file.size - dataStart)
      return new SafetensorsFile(file, header, dataStart, parseChecksums(path, header))
    } catch (error) {
      await file.close()
      throw error
    }
  }

  /** Where one tensor's bytes begin in the file. */
  offsetOf(name: string): number {
    return this.#dataStart + this.#location(name).begin
  }

  /** Reads one tensor, in a buffer of its own. */
  async read(name: string): Promise<HostTensor> {
    const location = this.#location(name)
    const data = await this.#file.read(this.#dataStart + location.begin, location.byteLength)
    if (this.#checksums) this.#verify(name, crc32(data))
    return { dtype: location.dtype, shape: location.shape, data }
  }

  /**
   * The bytes of one tensor piece by piece, each valid until the next is asked for; where there are checksums, a damaged one fails
   * at the end.
   */
  async *pieces(name: string): AsyncGenerator<Uint8Array, void, undefined> {
    const { begin, byteLength } = this.#location(name)
    let sum = 0
    for await (const piece of this.#file.pieces(this.#dataStart + begin, byteLength)) {
      sum = crc32(piece, sum)
      yield piece
    }
    this.#verify(name, sum)
  }

  #location(name: string): TensorLocation {
    const location = this.#locations.get(name)
    if (location === undefined) {
      const examples = [...this.tensors.keys()].slice(0, 5).map((key) => JSON.stringify(key))
      const rest = this.tensors.size > examples.length ? `, … (${this.tensors.size} in all)` : ''
      throw new FileFormatError(
        this.path,
        `there is no tensor ${JSON.stringify(name)}; there is ${examples.join(', ') || 'none'}${rest}.`,
      )
    }
    return location
  }

  #verify(name: string, sum: number): void {
    const expected = this.#checksums?.get(name)
    if (expected !== undefined && sum !== expected) {
      throw new FileFormatError(
        this.path,
        `tensor ${JSON.stringify(name)} does not match its checksum; the file was damaged after it was written.`,
      )
    }
  }

  /** Reads every tensor, in the header's order. */
  async readAll(): Promise<Map<string, HostTensor>> {
    const all = new Map<string, HostTensor>()
    for (const name of this.tensors.keys()) all.set(name, await this.read(name))
    return all
  }

  async close(): Promise<void> {
    await this.#file.close()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }
}

async function readHeaderLength(file: RandomAccessFile): Promise<number> {
  if (file.size < LENGTH_BYTES) {
    throw new FileFormatError(file.path, `${file.size} bytes are too few for a safetensors file.`)
  }
  const prefix = await file.read(0, LENGTH_BYTES)
  const length = new DataView(prefix.buffer).getBigUint64(0, true)
  if (length > MAX_HEADER_BYTES) {
    throw new FileFormatError(
      file.path,
      `this is no safetensors file: its first 8 bytes would be a header of ${length} bytes (the limit is ${MAX_HEADER_BYTES}).`,
    )
  }
  const missing = LENGTH_BYTES + Number(length) - file.size
  if (missing > 0) {
    throw new FileFormatError(
      file.path,
      `the file is truncated inside its safetensors header: ${missing} of ${length} bytes are missing.`,
    )
  }
  return Number(length)
}

/** The table that `writeSafetensors({checksum: true})` stores: it must be whole, or a flipped bit in it would go unseen. */
function parseChecksums(path: string, header: SafetensorsHeader): ReadonlyMap<string, number> | undefined {
  const text = header.metadata[CHECKSUM_KEY]
  if (text === undefined) return undefined
  let entries: [string, unknown][]
  try {
    entries = Object.entries(JSON.parse(text) as object)
  } catch {
    throw new FileFormatError(path, `its metadata "${CHECKSUM_KEY}" is not the JSON of a table of checksums.`)
  }
  const checksums = new Map<string, number>()
  for (const [name, hex] of entries) {
    if (typeof hex !== 'string' || !/^[0-9a-f]{8}$/.test(hex)) {
      throw new FileFormatError(path, `the checksum of ${JSON.stringify(name)} is not 8 hexadecimal digits.`)
    }
    if (!header.tensors.has(name)) {
      throw new FileFormatError(path, `it has a checksum of ${JSON.stringify(name)}, but no such tensor.`)
    }
    checksums.set(name, Number.parseInt(hex, 16))
  }
  for (const name of header.tensors.keys()) {
    if (!checksums.has(name)) throw new FileFormatError(path, `tensor ${JSON.stringify(name)} has no checksum.`)
  }
  return checksums
}
