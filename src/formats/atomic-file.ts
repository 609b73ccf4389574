import { open, rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { FileAccessError } from './errors.ts'

/** A file being written. `write` writes all of `data`, wherever `position` is. */
export interface WritableFile {
  write(data: Uint8Array, position: number): Promise<void>
  sync(): Promise<void>
  close(): Promise<void>
}

/** What writing a file needs of a file system; a test or a remote store can stand in for Node's. */
export interface WritableFileSystem {
  create(path: string): Promise<WritableFile>
  rename(from: string, to: string): Promise<void>
  remove(path: string): Promise<void>
  /** Makes a rename in this directory last through a power cut. */
  syncDirectory(path: string): Promise<void>
}

export interface AtomicWriteOptions {
  /** Wait until the bytes are on the disk, so that they outlive a power cut. Default: false. */
  readonly fsync?: boolean
  readonly fileSystem?: WritableFileSystem
}

/** One write call of Node takes at most 2^31 - 1 bytes. */
const MAX_BYTES_PER_WRITE = 2 ** 30

export const nodeFileSystem: WritableFileSystem = {
  async create(path) {
    const handle = await open(path, 'w')
    return {
      async write(data, position) {
        for (let done = 0; done < data.length; ) {
          const length = Math.min(data.length - done, MAX_BYTES_PER_WRITE)
          const { bytesWritten } = await handle.write(data, done, length, position + done)
          done += bytesWritten
        }
      },
      sync: () => handle.sync(),
      close: () => handle.close(),
    }
  },
  rename,
  remove: (path) => rm(path, { force: true }),
  async syncDirectory(path) {
    const handle = await open(path, 'r')
    try {
      await handle.sync()
    } finally {
      await handle.close()
    }
  },
}

/**
 * A file that appears under its name only when it is whole: it is written beside it as `<path>.tmp-<pid>` and renamed by
 * `commit`. After `abort`, or a kill at any instant, what stood under the name before still stands there.
 */
export class AtomicFile {
  static readonly #inProgress = new Set<string>()

  readonly path: string
  readonly #temporaryPath: string
  readonly #file: WritableFile
  readonly #fsync: boolean
  readonly #fileSystem: WritableFileSystem
  #position = 0
  #state: 'writing' | 'closed' | 'finished' = 'writing'

  private constructor(path: string, file: WritableFile, options: AtomicWriteOptions) {
    this.path = path
    this.#temporaryPath = temporaryPath(path)
    this.#file = file
    this.#fsync = options.fsync ?? false
    this.#fileSystem = options.fileSystem ?? nodeFileSystem
  }

  static async create(path: string, options: AtomicWriteOptions = {}): Promise<AtomicFile> {
    const temporary = temporaryPath(path)
    if (AtomicFile.#inProgress.has(temporary)) {
      throw new Error(`${path} is already being written by this process; wait for that to end.`)
    }
    AtomicFile.#inProgress.add(temporary)
    try {
      return new AtomicFile(path, await (options.fileSystem ?? nodeFileSystem).create(temporary), options)
    } catch (error) {
      AtomicFile.#inProgress.delete(temporary)
      throw new FileAccessError('write', path, error)
    }
  }

  /** Where the next `append` goes: the bytes appended so far. */
  get position(): number {
    return this.#position
  }

  async append(data: Uint8Array): Promise<void> {
    await this.writeAt(data, this.#position)
    this.#position += data.length
  }

  /** Leaves a gap to be filled by `writeAt`, for what is known only later. */
  skip(length: number): void {
    this.#position += length
  }

  async writeAt(data: Uint8Array, position: number): Promise<void> {
    this.#requireWriting()
    await this.#attempt(() => this.#file.write(data, position))
  }

  /** Gives the file its name, replacing what had it. */
  async commit(): Promise<void> {
    this.#requireWriting()
    try {
      await this.#attempt(async () => {
        if (this.#fsync) await this.#file.sync()
        await this.#closeFile()
        await this.#fileSystem.rename(this.#temporaryPath, this.path)
        if (this.#fsync) await this.#fileSystem.syncDirectory(dirname(this.path))
      })
    } catch (error) {
      await this.abort()
      throw error
    }
    this.#finish()
  }

  /** Removes what was written; the name keeps what it had. Never throws, so that it cannot hide why it was called. */
  async abort(): Promise<void> {
    if (this.#state === 'finished') return
    await this.#closeFile().catch(() => {})
    await this.#fileSystem.remove(this.#temporaryPath).catch(() => {})
    this.#finish()
  }

  #requireWriting(): void {
    if (this.#state !== 'writing') throw new Error(`${this.path} is closed and cannot be written any more.`)
  }

  #finish(): void {
    this.#state = 'finished'
    AtomicFile.#inProgress.delete(this.#temporaryPath)
  }

  async #closeFile(): Promise<void> {
    if (this.#state !== 'writing') return
    this.#state = 'closed'
    await this.#file.close()
  }

  async #attempt(action: () => Promise<void>): Promise<void> {
    try {
      await action()
    } catch (error) {
      throw new FileAccessError('write', this.path, error)
    }
  }
}

/** Runs `body` on a new file and commits it; if `body` throws, nothing is left behind and its error passes through. */
export async function writeAtomically(
  path: string,
  options: AtomicWriteOptions,
  body: (file: AtomicFile) => Promise<void>,
): Promise<void> {
  const file = await AtomicFile.create(path, options)
  try {
    await body(file)
  } catch (error) {
    await file.abort()
    throw error
  }
  await file.commit()
}

function temporaryPath(path: string): string {
  return `${path}.tmp-${process.pid}`
}
