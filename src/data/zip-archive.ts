import { type FileHandle, open } from 'node:fs/promises'
import { promisify } from 'node:util'
import { crc32, inflateRaw } from 'node:zlib'
import { type Entry, fromFdPromise } from 'yauzl'
import type { FileTree } from './file-tree.ts'
import { ImageDecodeError } from './image-decoding.ts'

const LOCAL_HEADER_BYTES = 30
const LOCAL_HEADER_SIGNATURE = 0x04034b50
const STORED = 0
const DEFLATED = 8
/** No image is this large; an entry that says so is an accident or an attack. */
const MAX_ENTRY_BYTES = 2 ** 30

const inflate = promisify(inflateRaw)

/** Where one file lies in the archive. Of yauzl's entries only this is kept: a million of them must fit in memory. */
interface Location {
  readonly header: number
  readonly compressedSize: number
  readonly size: number
  readonly crc: number
  readonly method: number
  readonly encrypted: boolean
}

/**
 * Opens a zip archive (zip64 too) for reading in any order. Stored and deflated entries are read; the checksum of each
 * is verified.
 *
 * @throws {Error} if the file is no zip archive, or a name in it is absolute, leads outside (`..`), holds a backslash or
 *   comes twice
 */
export async function openZip(path: string): Promise<FileTree> {
  const file = await open(path)
  try {
    const locations = new Map<string, Location>()
    const folders = new Set<string>()
    for await (const entry of listEntries(file, path)) {
      const name = entry.fileName
      const isFolder = name.endsWith('/')
      for (let slash = name.indexOf('/'); slash >= 0; slash = name.indexOf('/', slash + 1)) {
        folders.add(name.slice(0, slash))
      }
      if (isFolder) continue
      if (locations.has(name)) throw new Error(`Cannot read the archive '${path}': it holds '${name}' twice.`)
      locations.set(name, {
        header: entry.relativeOffsetOfLocalHeader,
        compressedSize: entry.compressedSize,
        size: entry.uncompressedSize,
        crc: entry.crc32,
        method: entry.compressionMethod,
        encrypted: entry.isEncrypted(),
      })
    }
    return {
      root: path,
      files: [...locations.keys()],
      folders: [...folders],
      read: async (name) => {
        const location = locations.get(name)
        if (!location) throw new Error(`The archive '${path}' holds no '${name}'.`)
        return readEntry(file, name, location)
      },
      close: () => file.close(),
    }
  } catch (error) {
    await file.close()
    throw error
  }
}

async function* listEntries(file: FileHandle, path: string): AsyncGenerator<Entry> {
  try {
    const zip = await fromFdPromise(file.fd, { autoClose: false, lazyEntries: true, strictFileNames: true })
    yield* zip.eachEntry()
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error)
    // yauzl's words for the names that `strictFileNames` refuses.
    if (/^(invalid relative path|absolute path|invalid characters in fileName)/.test(reason)) {
      throw new Error(
        `Cannot read the archive '${path}': it holds an unsafe name (${reason}). Pack it again with relative names.`,
        { cause: error },
      )
    }
    throw new Error(`Cannot read the archive '${path}': ${reason.replace(/\.$/, '')}.`, { cause: error })
  }
}

async function readEntry(file: FileHandle, name: string, location: Location): Promise<Uint8Array> {
  const fail = (reason: string, cause?: unknown): never => {
    throw new ImageDecodeError(name, reason, { cause })
  }
  const { method, size, compressedSize } = location
  if (location.encrypted) fail('it is encrypted in the archive')
  if (method !== STORED && method !== DEFLATED)
    fail(`it is packed with method ${method}; only stored and deflated are read`)
  if (Math.max(size, compressedSize) > MAX_ENTRY_BYTES) fail(`it declares ${size} bytes, more than 1 GiB`)
  // The local header repeats the name and may have other extra fields than the central directory: only it says where
  // the data starts (APPNOTE 4.3.7).
  const local = await readRange(file, location.header, LOCAL_HEADER_BYTES)
  if (local?.readUInt32LE(0) !== LOCAL_HEADER_SIGNATURE) return fail('its header in the archive is damaged')
  const start = location.header + LOCAL_HEADER_BYTES + local.readUInt16LE(26) + local.readUInt16LE(28)
  const packed = await readRange(file, start, compressedSize)
  if (!packed) return fail('the archive ends inside it')
  let bytes = packed
  if (method === DEFLATED) {
    try {
      bytes = await inflate(packed, { maxOutputLength: Math.max(size, 1) })
    } catch (error) {
      fail('its compressed data in the archive is damaged', error)
    }
  }
  if (bytes.length !== size || crc32(bytes) !== location.crc)
    fail('its checksum in the archive does not match its data')
  return bytes
}

/** Undefined where the file ends before the range does. */
async function readRange(file: FileHandle, start: number, length: number): Promise<Buffer | undefined> {
  const buffer = Buffer.allocUnsafe(length)
  let filled = 0
  while (filled < length) {
    const { bytesRead } = await file.read(buffer, filled, length - filled, start + filled)
    if (bytesRead === 0) return undefined
    filled += bytesRead
  }
  return buffer
}
