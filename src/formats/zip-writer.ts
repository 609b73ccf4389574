import { crc32 } from 'node:zlib'
import { AtomicFile, type AtomicWriteOptions } from './atomic-file.ts'
import { dataViewOf } from './byte-order.ts'
import {
  CENTRAL_HEADER,
  END,
  FLAG_UTF8,
  IN_ZIP64_16,
  IN_ZIP64_32,
  LOCAL_HEADER,
  STORED,
  ZIP64_END,
  ZIP64_EXTRA_ID,
  ZIP64_LOCATOR,
  ZIP64_VERSION,
} from './zip-format.ts'

export interface ZipWriterOptions extends AtomicWriteOptions {
  /** Start each entry's data at a multiple of this, by an extra field as torch.save writes it (64 there). Default: 1. */
  readonly alignment?: number
}

/** Of the padding field in a local header: "FB", and what it is filled with; both as in torch's archives. */
const PADDING_EXTRA_ID = 0x4246
const PADDING_BYTE = 0x5a
const EXTRA_HEADER_BYTES = 4

/** MS-DOS date of 1 January 1980, the earliest there is: the same content gives the same file. */
const DOS_DATE = (1 << 5) | 1
const DEFAULT_VERSION = 20

interface WrittenEntry {
  readonly name: Uint8Array
  readonly offset: number
  readonly size: number
  readonly crc32: number
}

/** Writes a zip archive of stored entries, zip64 where it has to be. It appears under its name when it is closed. */
export class ZipWriter {
  readonly path: string
  readonly #file: AtomicFile
  readonly #alignment: number
  readonly #entries: WrittenEntry[] = []
  readonly #names = new Set<string>()
  #current: ZipEntryWriter | undefined

  private constructor(file: AtomicFile, alignment: number) {
    this.path = file.path
    this.#file = file
    this.#alignment = alignment
  }

  static async create(path: string, options: ZipWriterOptions = {}): Promise<ZipWriter> {
    return new ZipWriter(await AtomicFile.create(path, options), options.alignment ?? 1)
  }

  async add(name: string, data: Uint8Array): Promise<void> {
    const entry = await this.open(name, data.length)
    await entry.write(data)
    await entry.close()
  }

  /** Begins an entry of `size` bytes, to be written piece by piece. One entry is open at a time. */
  async open(name: string, size: number): Promise<ZipEntryWriter> {
    if (this.#current !== undefined) throw new Error(`${this.path}: close the open entry before beginning "${name}".`)
    if (this.#names.has(name)) throw new RangeError(`${this.path}: there already is an entry named "${name}".`)
    const encoded = new TextEncoder().encode(name)
    if (encoded.length > 0xffff) throw new RangeError(`${this.path}: a name of ${encoded.length} bytes is too long.`)
    const offset = this.#file.position
    const header = localHeader(encoded, size, offset, this.#alignment)
    await this.#file.append(header)
    this.#names.add(name)
    this.#current = new ZipEntryWriter(this.#file, name, size, async (sum) => {
      const crcField = new Uint8Array(4)
      dataViewOf(crcField).setUint32(0, sum, true)
      await this.#file.writeAt(crcField, offset + 14)
      this.#entries.push({ name: encoded, offset, size, crc32: sum })
      this.#current = undefined
    })
    return this.#current
  }

  /** Writes the central directory and gives the archive its name. */
  async close(): Promise<void> {
    if (this.#current !== undefined) throw new Error(`${this.path}: an entry is still open.`)
    try {
      const directoryOffset = this.#file.position
      const headers = this.#entries.map(centralHeader)
      const directory = Buffer.concat(headers)
      await this.#file.append(directory)
      await this.#file.append(endRecords(this.#entries.length, directoryOffset, directory.length))
    } catch (error) {
      await this.#file.abort()
      throw error
    }
    await this.#file.commit()
  }

  /** Gives up: nothing is left behind. */
  async abort(): Promise<void> {
    await this.#file.abort()
  }
}

/** One entry of an archive that is being written. */
export class ZipEntryWriter {
  readonly name: string
  readonly size: number
  readonly #file: AtomicFile
  readonly #finish: (sum: number) => Promise<void>
  #written = 0
  #sum = 0

  /** @internal Made by ZipWriter.open. */
  constructor(file: AtomicFile, name: string, size: number, finish: (sum: number) => Promise<void>) {
    this.name = name
    this.size = size
    this.#file = file
    this.#finish = finish
  }

  async write(data: Uint8Array): Promise<void> {
    if (this.#written + data.length > this.size) {
      throw new RangeError(`"${this.name}" was announced with ${this.size} bytes; ${data.length} more do not fit.`)
    }
    this.#sum = crc32(data, this.#sum)
    this.#written += data.length
    await this.#file.append(data)
  }

  async close(): Promise<void> {
    if (this.#written !== this.size) {
      throw new RangeError(`"${this.name}" was announced with ${this.size} bytes, but got ${this.#written}.`)
    }
    await this.#finish(this.#sum)
  }
}

/** 4.3.7; the CRC-32 is filled in once the data is known. */
function localHeader(name: Uint8Array, size: number, offset: number, alignment: number): Uint8Array {
  // A local header's zip64 field must hold both sizes.
  const zip64Bytes = size >= IN_ZIP64_32 ? EXTRA_HEADER_BYTES + 16 : 0
  const unpadded = LOCAL_HEADER.bytes + name.length + zip64Bytes
  const gap = alignment > 1 ? (alignment - ((offset + unpadded + EXTRA_HEADER_BYTES) % alignment)) % alignment : 0
  const paddingBytes = alignment > 1 ? EXTRA_HEADER_BYTES + gap : 0
  const header = new Uint8Array(unpadded + paddingBytes)
  const view = dataViewOf(header)
  const size32 = zip64Bytes > 0 ? IN_ZIP64_32 : size
  view.setUint32(0, LOCAL_HEADER.signature, true)
  view.setUint16(4, zip64Bytes > 0 ? ZIP64_VERSION : DEFAULT_VERSION, true)
  view.setUint16(6, FLAG_UTF8, true)
  view.setUint16(8, STORED, true)
  view.setUint16(12, DOS_DATE, true)
  view.setUint32(18, size32, true)
  view.setUint32(22, size32, true)
  view.setUint16(26, name.length, true)
  view.setUint16(28, zip64Bytes + paddingBytes, true)
  header.set(name, LOCAL_HEADER.bytes)
  let extra = LOCAL_HEADER.bytes + name.length
  if (zip64Bytes > 0) {
    view.setUint16(extra, ZIP64_EXTRA_ID, true)
    view.setUint16(extra + 2, 16, true)
    view.setBigUint64(extra + 4, BigInt(size), true)
    view.setBigUint64(extra + 12, BigInt(size), true)
    extra += zip64Bytes
  }
  if (paddingBytes > 0) {
    view.setUint16(extra, PADDING_EXTRA_ID, true)
    view.setUint16(extra + 2, gap, true)
    header.fill(PADDING_BYTE, extra + EXTRA_HEADER_BYTES)
  }
  return header
}

/** 4.3.12 */
function centralHeader({ name, offset, size, crc32 }: WrittenEntry): Uint8Array {
  const sizes = size >= IN_ZIP64_32 ? [size, size] : []
  const wide = offset >= IN_ZIP64_32 ? [...sizes, offset] : sizes
  const extraBytes = wide.length > 0 ? EXTRA_HEADER_BYTES + 8 * wide.length : 0
  const header = new Uint8Array(CENTRAL_HEADER.bytes + name.length + extraBytes)
  const view = dataViewOf(header)
  const version = extraBytes > 0 ? ZIP64_VERSION : DEFAULT_VERSION
  const size32 = Math.min(size, IN_ZIP64_32)
  view.setUint32(0, CENTRAL_HEADER.signature, true)
  view.setUint16(4, version, true)
  view.setUint16(6, version, true)
  view.setUint16(8, FLAG_UTF8, true)
  view.setUint16(10, STORED, true)
  view.setUint16(14, DOS_DATE, true)
  view.setUint32(16, crc32, true)
  view.setUint32(20, size32, true)
  view.setUint32(24, size32, true)
  view.setUint16(28, name.length, true)
  view.setUint16(30, extraBytes, true)
  view.setUint32(42, Math.min(offset, IN_ZIP64_32), true)
  header.set(name, CENTRAL_HEADER.bytes)
  if (extraBytes > 0) {
    const extra = CENTRAL_HEADER.bytes + name.length
    view.setUint16(extra, ZIP64_EXTRA_ID, true)
    view.setUint16(extra + 2, 8 * wide.length, true)
    for (const [i, value] of wide.entries()) {
      view.setBigUint64(extra + EXTRA_HEADER_BYTES + 8 * i, BigInt(value), true)
    }
  }
  return header
}

/** 4.3.14 to 4.3.16 */
function endRecords(count: number, offset: number, size: number): Uint8Array {
  const zip64 = count >= IN_ZIP64_16 || offset >= IN_ZIP64_32 || size >= IN_ZIP64_32
  const records = new Uint8Array((zip64 ? ZIP64_END.bytes + ZIP64_LOCATOR.bytes : 0) + END.bytes)
  const view = dataViewOf(records)
  if (zip64) {
    view.setUint32(0, ZIP64_END.signature, true)
    view.setBigUint64(4, BigInt(ZIP64_END.bytes - 12), true)
    view.setUint16(12, ZIP64_VERSION, true)
    view.setUint16(14, ZIP64_VERSION, true)
    view.setBigUint64(24, BigInt(count), true)
    view.setBigUint64(32, BigInt(count), true)
    view.setBigUint64(40, BigInt(size), true)
    view.setBigUint64(48, BigInt(offset), true)
    view.setUint32(56, ZIP64_LOCATOR.signature, true)
    view.setBigUint64(64, BigInt(offset + size), true)
    view.setUint32(72, 1, true)
  }
  const end = records.length - END.bytes
  view.setUint32(end, END.signature, true)
  view.setUint16(end + 8, Math.min(count, IN_ZIP64_16), true)
  view.setUint16(end + 10, Math.min(count, IN_ZIP64_16), true)
  view.setUint32(end + 12, Math.min(size, IN_ZIP64_32), true)
  view.setUint32(end + 16, Math.min(offset, IN_ZIP64_32), true)
  return records
}
