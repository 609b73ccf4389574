import { FileFormatError } from './errors.ts'
import { readPickle } from './pickle.ts'
import { loadTorchStorage, resolveTorchGlobal, type TorchGlobalsOptions } from './torch-globals.ts'
import type { TorchStorage } from './torch-tensor.ts'
import { ZipFile } from './zip-reader.ts'

/** The bytes of a checkpoint's storages, by key. */
export interface TorchStorageReader {
  readonly bigEndian: boolean
  /** How many bytes the file has under the key; undefined where it has no such key. */
  byteLength(key: string): number | undefined
  /** All of them, verified if the file has checksums. */
  read(key: string): Promise<Uint8Array>
  /** A part of them, not verified. */
  readRange(key: string, begin: number, length: number): Promise<Uint8Array>
  /** All of them, piece by piece, each valid until the next is asked for; a damaged storage fails at the end, if the file has checksums. */
  pieces(key: string): AsyncIterable<Uint8Array>
  close(): Promise<void>
}

/** A checkpoint's value with its tensors unread, and where to read them. */
export interface OpenedCheckpoint {
  readonly value: unknown
  /** One for each time that the value refers to a storage. */
  readonly storages: readonly TorchStorage[]
  readonly reader: TorchStorageReader
  readonly isTorchScript: boolean
}

export interface TorchOpenOptions {
  /**
   * Classes (`module.Name`) outside of the allow-list whose objects are kept as `InertObject`s, plain data that nothing
   * is run for. Default: none; a file that names one is refused.
   */
  readonly inertGlobals?: readonly string[]
}

/** A checkpoint's pickle has names and shapes; one of this size would describe millions of tensors. */
const MAX_PICKLE_BYTES = 2 ** 28

/**
 * Opens the format of torch.save since 1.6: a zip of stored entries under one folder, `data.pkl` (the value),
 * `data/<key>` (the storages), `byteorder` and `version`. TorchScript archives are laid out in the same way.
 */
export async function openTorchArchive(path: string, options: TorchOpenOptions): Promise<OpenedCheckpoint> {
  const zip = await ZipFile.open(path, { zeroIsNoChecksum: true })
  try {
    const folder = archiveFolder(zip)
    const isTorchScript = zip.entries.has(`${folder}/constants.pkl`)
    const globals: TorchGlobalsOptions = { ...options, torchScript: isTorchScript }
    const storages: TorchStorage[] = []
    const { value } = readPickle(await zip.read(`${folder}/data.pkl`, { maxBytes: MAX_PICKLE_BYTES }), {
      path,
      part: 'data.pkl',
      resolveGlobal: (module, name) => resolveTorchGlobal(module, name, globals),
      persistentLoad: (id) => {
        const storage = loadTorchStorage(id)
        storages.push(storage)
        return storage
      },
    })
    const reader = new ArchiveStorageReader(zip, folder, await isBigEndian(zip, folder))
    return { value, storages, reader, isTorchScript }
  } catch (error) {
    await zip.close()
    throw error
  }
}

/** The archive's one top folder; its name is that of the file when it was saved. */
function archiveFolder(zip: ZipFile): string {
  for (const name of zip.entries.keys()) {
    const folder = /^([^/]+)\/data\.pkl$/.exec(name)?.[1]
    if (folder !== undefined) return folder
  }
  throw new FileFormatError(zip.path, 'this zip archive has no data.pkl: it was not written by torch.save.')
}

/** Absent before torch 2.1, which only wrote little-endian files on the machines that it is used on. */
async function isBigEndian(zip: ZipFile, folder: string): Promise<boolean> {
  const name = `${folder}/byteorder`
  if (!zip.entries.has(name)) return false
  const order = Buffer.from(await zip.read(name, { maxBytes: 16 })).toString('latin1')
  if (order !== 'little' && order !== 'big') {
    throw new FileFormatError(zip.path, `its byteorder is ${JSON.stringify(order)}, neither "little" nor "big".`)
  }
  return order === 'big'
}

class ArchiveStorageReader implements TorchStorageReader {
  readonly bigEndian: boolean
  readonly #zip: ZipFile
  readonly #folder: string

  constructor(zip: ZipFile, folder: string, bigEndian: boolean) {
    this.#zip = zip
    this.#folder = folder
    this.bigEndian = bigEndian
  }

  byteLength(key: string): number | undefined {
    return this.#zip.entries.get(this.#name(key))?.size
  }

  read(key: string): Promise<Uint8Array> {
    return this.#zip.read(this.#name(key))
  }

  readRange(key: string, begin: number, length: number): Promise<Uint8Array> {
    return this.#zip.readRange(this.#name(key), begin, length)
  }

  pieces(key: string): AsyncIterable<Uint8Array> {
    return this.#zip.stream(this.#name(key))
  }

  close(): Promise<void> {
    return this.#zip.close()
  }

  #name(key: string): string {
    return `${this.#folder}/data/${key}`
  }
}
