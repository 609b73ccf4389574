import { pipeline } from 'node:stream/promises'
import { promisify } from 'node:util'
import { crc32, createInflateRaw, inflateRaw } from 'node:zlib'
import { dataViewOf } from './byte-order.ts'
import { FileFormatError } from './errors.ts'
import { RandomAccessFile } from './random-access-file.ts'
import { decodeEntryName } from './zip-entry-name.ts'
import {
  CENTRAL_HEADER,
  DEFLATED,
  END,
  FLAG_ENCRYPTED,
  FLAG_MASKED_HEADERS,
  FLAG_STRONG_ENCRYPTION,
  FLAG_UTF8,
  IN_ZIP64_16,
  IN_ZIP64_32,
  LOCAL_HEADER,
  STORED,
  ZIP64_END,
  ZIP64_EXTRA_ID,
  ZIP64_LOCATOR,
} from './zip-format.ts'

export interface ZipEntry {
  /** As in the archive: check it with `safeEntryName` before using it as a path. */
  readonly name: string
  readonly method: typeof STORED | typeof DEFLATED
  readonly compressedSize: number
  /** Bytes of the entry's data once unpacked. */
  readonly size: number
  readonly crc32: number
  /** Of the local header; the data follows it. */
  readonly offset: number
}

export interface ZipOpenOptions {
  /** Takes an archive all of whose CRC-32s are 0 for one without checksums; `torch.serialization.set_crc32_options(False)` writes such. Default: false. */
  readonly zeroIsNoChecksum?: boolean
}

export interface ZipReadOptions {
  /** Refuse entries that take more bytes than this, packed or unpacked. Default: 2 GiB. */
  readonly maxBytes?: number
}

const DEFAULT_MAX_BYTES = 2 ** 31

/** Bytes that `stream` reads at a time. */
const STREAM_CHUNK_BYTES = 2 ** 20

/** Deflate cannot pack better: 258 bytes take at least 2 bits (https://zlib.net/zlib_tech.html). */
const MAX_DEFLATE_RATIO = 1032

/** A larger central directory (some ten million entries) is taken for damage. */
const MAX_DIRECTORY_BYTES = 2 ** 30

const inflateRawAsync = promisify<Uint8Array, { maxOutputLength: number }, Buffer>(inflateRaw)

/**
 * A zip archive (zip64 too), read by its central directory with random access by name. Entries may be stored or
 * deflated; each is verified by its CRC-32. Refused on opening: encryption, several disks, entries that overlap one
 * another or have the same name, and sizes that deflate cannot reach, which is what zip bombs are made of.
 */
export class ZipFile {
  readonly path: string
  /** By name, in the order of the central directory. Folders, if listed, have names that end in `/`. */
  readonly entries: ReadonlyMap<string, ZipEntry>
  readonly #file: RandomAccessFile
  readonly #hasChecksums: boolean

  private constructor(file: RandomAccessFile, entries: ReadonlyMap<string, ZipEntry>, hasChecksums: boolean) {
    this.path = file.path
    this.entries = entries
    this.#file = file
    this.#hasChecksums = hasChecksums
  }

  static async open(path: string, { zeroIsNoChecksum = false }: ZipOpenOptions = {}): Promise<ZipFile> {
    const file = await RandomAccessFile.open(path)
    try {
      const entries = await readEntries(file)
      return new ZipFile(file, entries, !zeroIsNoChecksum || [...entries.values()].some((entry) => entry.crc32 !== 0))
    } catch (error) {
      await file.close()
      throw error
    }
  }

  /** The whole entry, unpacked and verified, in a buffer of its own. */
  async read(name: string, options: ZipReadOptions = {}): Promise<Uint8Array> {
    const entry = this.#entry(name)
    const maxBytes = options.maxBytes ?? DEFAULT_MAX_BYTES
    if (entry.size > maxBytes) {
      throw this.#fault(entry, `unpacks to ${entry.size} bytes; at most ${maxBytes} are accepted here`)
    }
    if (entry.compressedSize > maxBytes) {
      throw this.#fault(entry, `is packed in ${entry.compressedSize} bytes; at most ${maxBytes} are accepted here`)
    }
    const packed = await this.#file.read(await this.#dataStart(entry), entry.compressedSize)
    if (entry.method === STORED) return this.#verified(entry, packed, crc32(packed))
    let data: Uint8Array
    try {
      const inflated = await inflateRawAsync(packed, { maxOutputLength: Math.max(entry.size, 1) })
      data = new Uint8Array(inflated)
    } catch (error) {
      throw this.#fault(entry, `cannot be unpacked (${(error as Error).message})`)
    }
    return this.#verified(entry, data, crc32(data))
  }

  /** The entry's bytes in pieces, unpacked, each valid until the next is asked for; throws after the last one if the CRC-32 differs. */
  async *stream(name: string): AsyncGenerator<Uint8Array> {
    const entry = this.#entry(name)
    const start = await this.#dataStart(entry)
    let sum = 0
    let size = 0
    for await (const piece of entry.method === STORED
      ? this.#file.pieces(start, entry.compressedSize)
      : this.#inflated(entry, this.#packedPieces(entry, start))) {
      sum = crc32(piece, sum)
      size += piece.length
      if (size > entry.size) throw this.#fault(entry, `unpacks to more than its ${entry.size} bytes`)
      yield piece
    }
    this.#verified(entry, { length: size }, sum)
  }

  /**
   * A part of a stored entry. The CRC-32 is over the whole entry, so a part is not verified.
   * @throws RangeError where the entry is deflated or ends before that.
   */
  async readRange(name: string, begin: number, length: number): Promise<Uint8Array> {
    const entry = this.#entry(name)
    if (entry.method !== STORED) {
      throw new RangeError(`${this.path}: ${JSON.stringify(name)} is deflated, so no part of it can be read by itself.`)
    }
    if (begin + length > entry.size) {
      throw new RangeError(
        `${this.path}: ${JSON.stringify(name)} has ${entry.size} bytes; ${begin} to ${begin + length} is outside.`,
      )
    }
    return this.#file.read((await this.#dataStart(entry)) + begin, length)
  }

  async close(): Promise<void> {
    await this.#file.close()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  #entry(name: string): ZipEntry {
    const entry = this.entries.get(name)
    if (entry === undefined) throw new FileFormatError(this.path, `the archive has no entry ${JSON.stringify(name)}.`)
    return entry
  }

  /** The local header repeats what the central directory says, but its name and extra field may be longer. */
  async #dataStart(entry: ZipEntry): Promise<number> {
    const header = dataViewOf(await this.#file.read(entry.offset, LOCAL_HEADER.bytes))
    if (header.getUint32(0, true) !== LOCAL_HEADER.signature) {
      throw this.#fault(entry, `has no header at byte ${entry.offset}, where the central directory puts it`)
    }
    const start = entry.offset + LOCAL_HEADER.bytes + header.getUint16(26, true) + header.getUint16(28, true)
    if (start + entry.compressedSize > this.#file.size) throw this.#fault(entry, 'runs past the end of the archive')
    return start
  }

  async *#packedPieces(entry: ZipEntry, start: number): AsyncGenerator<Uint8Array> {
    for (let done = 0; done < entry.compressedSize; done += STREAM_CHUNK_BYTES) {
      yield await this.#file.read(start + done, Math.min(STREAM_CHUNK_BYTES, entry.compressedSize - done))
    }
  }

  async *#inflated(entry: ZipEntry, pieces: AsyncGenerator<Uint8Array>): AsyncGenerator<Uint8Array> {
    const inflate = createInflateRaw({ chunkSize: STREAM_CHUNK_BYTES })
    // What is wrong with the pieces or their contents, reading on tells of.
    const fed = pipeline(pieces, inflate).catch(() => {})
    try {
      yield* inflate
    } catch (error) {
      if (error instanceof Error && 'code' in error && String(error.code).startsWith('Z_')) {
        throw this.#fault(entry, `cannot be unpacked (${error.message})`)
      }
      throw error
    } finally {
      inflate.destroy()
      await fed
    }
  }

  #verified<T extends { readonly length: number }>(entry: ZipEntry, data: T, sum: number): T {
    if (data.length !== entry.size) throw this.#fault(entry, `unpacks to ${data.length} bytes instead of ${entry.size}`)
    if (this.#hasChecksums && sum !== entry.crc32)
      throw this.#fault(entry, 'does not match its CRC-32: the archive is damaged')
    return data
  }

  #fault(entry: ZipEntry, problem: string): FileFormatError {
    return new FileFormatError(this.path, `entry ${JSON.stringify(entry.name)} ${problem}.`)
  }
}

interface DirectoryLocation {
  readonly offset: number
  readonly size: number
  readonly count: number
}

async function readEntries(file: RandomAccessFile): Promise<Map<string, ZipEntry>> {
  const { offset, size, count } = await findDirectory(file)
  if (offset + size > file.size || size > MAX_DIRECTORY_BYTES || count * CENTRAL_HEADER.bytes > size) {
    throw new FileFormatError(
      file.path,
      `the zip archive is damaged: ${count} entries in ${size} bytes at byte ${offset} do not fit a file of ${file.size}.`,
    )
  }
  const directory = await file.read(offset, size)
  const entries = new Map<string, ZipEntry>()
  let position = 0
  for (let i = 0; i < count; i++) {
    const { entry, next } = parseCentralHeader(file.path, directory, position)
    if (entries.has(entry.name)) {
      throw new FileFormatError(file.path, `the zip archive has two entries named ${JSON.stringify(entry.name)}.`)
    }
    entries.set(entry.name, entry)
    position = next
  }
  checkOverlap(file.path, entries, offset)
  return entries
}

async function findDirectory(file: RandomAccessFile): Promise<DirectoryLocation> {
  const tailBytes = Math.min(file.size, END.bytes + END.maxComment + ZIP64_LOCATOR.bytes)
  const tailStart = file.size - tailBytes
  const tail = dataViewOf(await file.read(tailStart, tailBytes))
  const end = findEnd(tail)
  if (end === undefined) {
    throw new FileFormatError(
      file.path,
      'the zip archive has no end record: the file is truncated or no zip archive. Copy or download it again.',
    )
  }
  const location = {
    count: tail.getUint16(end + 10, true),
    size: tail.getUint32(end + 12, true),
    offset: tail.getUint32(end + 16, true),
  }
  const locator = end - ZIP64_LOCATOR.bytes
  if (locator >= 0 && tail.getUint32(locator, true) === ZIP64_LOCATOR.signature) {
    return readZip64End(file, tail.getBigUint64(locator + 8, true))
  }
  if (tail.getUint16(end + 4, true) !== 0 || tail.getUint16(end + 8, true) !== location.count) {
    throw new FileFormatError(file.path, 'the zip archive is split over several disks, which is not supported.')
  }
  return location
}

/** The end record is the last one whose comment reaches exactly to the end of the file. */
function findEnd(tail: DataView): number | undefined {
  for (let at = tail.byteLength - END.bytes; at >= 0; at--) {
    if (tail.getUint32(at, true) !== END.signature) continue
    if (at + END.bytes + tail.getUint16(at + 20, true) === tail.byteLength) return at
  }
  return undefined
}

async function readZip64End(file: RandomAccessFile, offset: bigint): Promise<DirectoryLocation> {
  if (offset + BigInt(ZIP64_END.bytes) > BigInt(file.size)) {
    throw new FileFormatError(file.path, `the zip archive is damaged: its zip64 record would be at byte ${offset}.`)
  }
  const record = dataViewOf(await file.read(Number(offset), ZIP64_END.bytes))
  if (record.getUint32(0, true) !== ZIP64_END.signature) {
    throw new FileFormatError(file.path, `the zip archive is damaged: there is no zip64 record at byte ${offset}.`)
  }
  // Numbers past 2^53 lose digits here, but are then refused for not fitting the file.
  return {
    count: Number(record.getBigUint64(32, true)),
    size: Number(record.getBigUint64(40, true)),
    offset: Number(record.getBigUint64(48, true)),
  }
}

function parseCentralHeader(path: string, directory: Uint8Array, at: number): { entry: ZipEntry; next: number } {
  const view = dataViewOf(directory)
  if (at + CENTRAL_HEADER.bytes > view.byteLength || view.getUint32(at, true) !== CENTRAL_HEADER.signature) {
    throw new FileFormatError(path, 'the central directory of the zip archive is damaged.')
  }
  const nameEnd = at + CENTRAL_HEADER.bytes + view.getUint16(at + 28, true)
  const extraEnd = nameEnd + view.getUint16(at + 30, true)
  const next = extraEnd + view.getUint16(at + 32, true)
  if (next > view.byteLength) throw new FileFormatError(path, 'the central directory of the zip archive is damaged.')

  const flags = view.getUint16(at + 8, true)
  const method = view.getUint16(at + 10, true)
  let name: string
  try {
    name = decodeEntryName(directory.subarray(at + CENTRAL_HEADER.bytes, nameEnd), (flags & FLAG_UTF8) !== 0)
  } catch {
    throw new FileFormatError(path, 'the zip archive has an entry whose name is not the UTF-8 that it claims to be.')
  }
  const what = `entry ${JSON.stringify(name)}`
  if (flags & (FLAG_ENCRYPTED | FLAG_STRONG_ENCRYPTION | FLAG_MASKED_HEADERS)) {
    throw new FileFormatError(path, `${what} is encrypted; unpack the archive with its password first.`)
  }
  if (method !== STORED && method !== DEFLATED) {
    throw new FileFormatError(path, `${what} is packed by method ${method}; only stored (0) and deflate (8) are read.`)
  }
  const sizes = resolveZip64(view, nameEnd, extraEnd, {
    size: view.getUint32(at + 24, true),
    compressedSize: view.getUint32(at + 20, true),
    offset: view.getUint32(at + 42, true),
    disk: view.getUint16(at + 34, true),
  })
  if (sizes === undefined) throw new FileFormatError(path, `${what} lacks its zip64 sizes, or they are absurd.`)
  if (sizes.disk !== 0) throw new FileFormatError(path, `${what} is on another disk, which is not supported.`)
  const { size, compressedSize, offset } = sizes
  if (method === STORED ? size !== compressedSize : size > compressedSize * MAX_DEFLATE_RATIO) {
    throw new FileFormatError(path, `${what} claims ${size} bytes in ${compressedSize}, which cannot be true.`)
  }
  return { entry: { name, method, compressedSize, size, crc32: view.getUint32(at + 16, true), offset }, next }
}

interface EntrySizes {
  size: number
  compressedSize: number
  offset: number
  disk: number
}

/** 4.5.3: the zip64 extra field has the values that do not fit, in this order, and only those. */
function resolveZip64(view: DataView, begin: number, end: number, sizes: EntrySizes): EntrySizes | undefined {
  const missing = (['size', 'compressedSize', 'offset'] as const).filter((key) => sizes[key] === IN_ZIP64_32)
  if (missing.length === 0 && sizes.disk !== IN_ZIP64_16) return sizes
  for (let at = begin; at + 4 <= end; ) {
    const fieldEnd = at + 4 + view.getUint16(at + 2, true)
    if (fieldEnd > end) return undefined
    if (view.getUint16(at, true) === ZIP64_EXTRA_ID) {
      let field = at + 4
      for (const key of missing) {
        if (field + 8 > fieldEnd) return undefined
        sizes[key] = Number(view.getBigUint64(field, true))
        if (!Number.isSafeInteger(sizes[key])) return undefined
        field += 8
      }
      if (sizes.disk === IN_ZIP64_16) {
        if (field + 4 > fieldEnd) return undefined
        sizes.disk = view.getUint32(field, true)
      }
      return sizes
    }
    at = fieldEnd
  }
  return undefined
}

/** Entries that share bytes unpack to far more than the archive holds (D. Fifield, "A better zip bomb", WOOT 2019). */
function checkOverlap(path: string, entries: ReadonlyMap<string, ZipEntry>, directoryOffset: number): void {
  const inOrder = [...entries.values()].sort((a, b) => a.offset - b.offset)
  for (const [i, entry] of inOrder.entries()) {
    const end = entry.offset + LOCAL_HEADER.bytes + entry.compressedSize
    const limit = inOrder[i + 1]?.offset ?? directoryOffset
    if (end > limit) {
      const what = inOrder[i + 1] ? `entry ${JSON.stringify(inOrder[i + 1]?.name)}` : 'the central directory'
      throw new FileFormatError(
        path,
        `entry ${JSON.stringify(entry.name)} overlaps ${what}; the zip archive is damaged.`,
      )
    }
  }
}
