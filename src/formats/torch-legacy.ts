import { DTYPE_BYTES } from '../tensor/dtype.ts'
import { FileFormatError } from './errors.ts'
import { type PickleContext, readPickle } from './pickle.ts'
import { TruncatedPickleError } from './pickle-input.ts'
import { spoken } from './pickle-values.ts'
import { RandomAccessFile } from './random-access-file.ts'
import type { OpenedCheckpoint, TorchOpenOptions, TorchStorageReader } from './torch-archive.ts'
import { loadTorchStorage, resolveTorchGlobal } from './torch-globals.ts'
import type { TorchStorage } from './torch-tensor.ts'

/** What the first pickle of a file of the legacy format holds. */
const MAGIC_NUMBER = 0x1950a86a20f9469cfc6cn

const PROTOCOL_VERSION = 1001

/** The pickles come before the storages and do not say how long they are: first a part of this size is tried. */
const FIRST_WINDOW_BYTES = 2 ** 20
const MAX_PICKLE_BYTES = 2 ** 28

/** Each storage is preceded by its element count. */
const COUNT_BYTES = 8

/**
 * Opens the format of torch.save before 1.6 (torch/serialization.py, _legacy_save): pickles of a magic number, the
 * protocol, facts about the system, the value, and the list of storage keys; then, in that list's order, each storage as
 * a 64-bit element count and its little-endian elements.
 */
export async function openTorchLegacy(path: string, options: TorchOpenOptions): Promise<OpenedCheckpoint> {
  const file = await RandomAccessFile.open(path)
  try {
    const { value, storages, keys, end } = await readPickles(file, options)
    const locations = await locateStorages(file, keys, storages, end)
    return { value, storages, reader: new LegacyStorageReader(file, locations), isTorchScript: false }
  } catch (error) {
    await file.close()
    throw error
  }
}

/** Whether a file that begins so is of the legacy format, whichever pickle protocol it was written with. */
export function isTorchLegacy(path: string, start: Uint8Array): boolean {
  try {
    return readPickle(start, withoutObjects(path, 'the magic number')).value === MAGIC_NUMBER
  } catch {
    return false
  }
}

/** For the pickles that hold plain values only. */
function withoutObjects(path: string, part: string): PickleContext {
  return {
    path,
    part,
    resolveGlobal: () => undefined,
    persistentLoad: () => {
      throw new TypeError('it refers to a storage.')
    },
  }
}

interface LegacyPickles {
  readonly value: unknown
  readonly storages: readonly TorchStorage[]
  readonly keys: readonly string[]
  /** Where the storages begin. */
  readonly end: number
}

async function readPickles(file: RandomAccessFile, options: TorchOpenOptions): Promise<LegacyPickles> {
  for (let window = FIRST_WINDOW_BYTES; ; window *= 4) {
    const length = Math.min(window, file.size)
    const bytes = await file.read(0, length)
    try {
      return parsePickles(file.path, bytes, options)
    } catch (error) {
      const hasMore = length < file.size && length < MAX_PICKLE_BYTES
      if (!(error instanceof TruncatedPickleError && hasMore)) throw error
    }
  }
}

function parsePickles(path: string, bytes: Uint8Array, options: TorchOpenOptions): LegacyPickles {
  const storages: TorchStorage[] = []
  let position = 0
  const next = (context: PickleContext): unknown => {
    const { value, end } = readPickle(bytes.subarray(position), context)
    position += end
    return value
  }
  next(withoutObjects(path, 'the magic number'))
  const protocol = next(withoutObjects(path, 'the protocol version'))
  if (protocol !== PROTOCOL_VERSION) {
    throw new FileFormatError(path, `its legacy protocol is ${spoken(protocol)}; ${PROTOCOL_VERSION} is the one read.`)
  }
  next(withoutObjects(path, 'the system description'))
  const value = next({
    path,
    part: 'the value',
    resolveGlobal: (module, name) => resolveTorchGlobal(module, name, options),
    persistentLoad: (id) => {
      const storage = loadTorchStorage(id)
      storages.push(storage)
      return storage
    },
  })
  const keys = next(withoutObjects(path, 'the list of storages'))
  if (!Array.isArray(keys) || !keys.every((key) => typeof key === 'string')) {
    throw new FileFormatError(path, 'the list of storages is damaged.')
  }
  return { value, storages, keys, end: position }
}

interface StorageLocation {
  readonly offset: number
  readonly byteLength: number
}

async function locateStorages(
  file: RandomAccessFile,
  keys: readonly string[],
  storages: readonly TorchStorage[],
  start: number,
): Promise<Map<string, StorageLocation>> {
  const byKey = new Map(storages.map((storage) => [storage.key, storage]))
  const locations = new Map<string, StorageLocation>()
  let offset = start
  for (const key of keys) {
    const storage = byKey.get(key)
    if (storage?.dtype === undefined || locations.has(key)) {
      throw new FileFormatError(
        file.path,
        `the list of storages names ${JSON.stringify(key)}, which the value does not.`,
      )
    }
    const count = new DataView((await file.read(offset, COUNT_BYTES)).buffer).getBigInt64(0, true)
    const byteLength = Number(count) * DTYPE_BYTES[storage.dtype]
    offset += COUNT_BYTES
    if (byteLength !== storage.keyByteLength) {
      throw new FileFormatError(
        file.path,
        `storage ${JSON.stringify(key)} has ${byteLength} bytes, but the value counts on ${storage.keyByteLength}.`,
      )
    }
    locations.set(key, { offset, byteLength })
    offset += byteLength
    if (offset > file.size) {
      throw new FileFormatError(
        file.path,
        `the file is truncated: at least ${offset - file.size} bytes are missing. Copy or download it again.`,
      )
    }
  }
  return locations
}

class LegacyStorageReader implements TorchStorageReader {
  /** Written in little-endian order on every machine. */
  readonly bigEndian = false
  readonly #file: RandomAccessFile
  readonly #locations: ReadonlyMap<string, StorageLocation>

  constructor(file: RandomAccessFile, locations: ReadonlyMap<string, StorageLocation>) {
    this.#file = file
    this.#locations = locations
  }

  byteLength(key: string): number | undefined {
    return this.#locations.get(key)?.byteLength
  }

  read(key: string): Promise<Uint8Array> {
    const { offset, byteLength } = this.#location(key)
    return this.#file.read(offset, byteLength)
  }

  readRange(key: string, begin: number, length: number): Promise<Uint8Array> {
    return this.#file.read(this.#location(key).offset + begin, length)
  }

  /** The format has no checksums. */
  pieces(key: string): AsyncIterable<Uint8Array> {
    const { offset, byteLength } = this.#location(key)
    return this.#file.pieces(offset, byteLength)
  }

  close(): Promise<void> {
    return this.#file.close()
  }

  #location(key: string): StorageLocation {
    const location = this.#locations.get(key)
    if (location === undefined)
      throw new FileFormatError(this.#file.path, `there is no storage ${JSON.stringify(key)}.`)
    return location
  }
}
