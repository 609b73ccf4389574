import { lstat, open, readdir, readlink, realpath, rename, rm, stat, writeFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { basename, dirname, isAbsolute, join } from 'node:path'
import * as z from 'zod'
import { requirePath } from '../configuration/path-argument.ts'
import { FileAccessError } from './errors.ts'
import { ifThere } from './if-there.ts'
import { runs } from './running-process.ts'

/** A file being written. `write` writes all of `data`, wherever `position` is. */
export interface WritableFile {
  write(data: Uint8Array, position: number): Promise<void>
  sync(): Promise<void>
  close(): Promise<void>
}

/** What writing a file needs of a file system; a test or a remote store can stand in for Node's. */
export interface WritableFileSystem {
  /**
   * Where the file of this path lies or is to lie: a name that a rename may take. Rejects where something stands there that
   * writing must not replace.
   */
  locate(path: string): Promise<string>
  create(path: string): Promise<WritableFile>
  rename(from: string, to: string): Promise<void>
  remove(path: string): Promise<void>
  /** Makes a rename in this directory last through a power cut, where the file system can. */
  syncDirectory(path: string): Promise<void>
}

export interface AtomicWriteOptions {
  /** Wait until the bytes are on the disk, so that they outlive a power cut. Default: false. */
  readonly fsync?: boolean
  readonly fileSystem?: WritableFileSystem
}

/** The schemas of `AtomicWriteOptions`. */
export const atomicWriteOptions = () =>
  ({
    fsync: z.boolean().optional(),
    fileSystem: z.custom((value) => typeof value === 'object' && value !== null, 'expected a file system').optional(),
  }) satisfies Record<keyof AtomicWriteOptions, z.ZodType>

/** Larger pieces are written as they come. */
const BUFFER_BYTES = 2 ** 18

/** One write call of Node takes at most 2^31 - 1 bytes. */
const MAX_BYTES_PER_WRITE = 2 ** 30

const CANNOT_SYNC: ReadonlySet<string> = new Set(['EINVAL', 'EBADF', 'ENOTSUP'])

export const nodeFileSystem: WritableFileSystem = {
  async locate(path) {
    const there = await ifThere(stat(path))
    if (there?.isDirectory()) throw Object.assign(new Error('it is a directory'), { code: 'EISDIR' })
    if (there && !there.isFile()) throw new Error('it is a device or a pipe, and would be replaced; name a file')
    return endOfLinks(path)
  },
  async create(path) {
    await removeLeftoversOnce(dirname(path))
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
    } catch (error) {
      // Some network file systems cannot do this to a folder at all. The file is whole under its name nevertheless.
      if (!CANNOT_SYNC.has(String((error as NodeJS.ErrnoException).code))) throw error
    } finally {
      await handle.close()
    }
  },
}

/** The end of a path's symbolic links, which need not be there yet: `realpath` would refuse it then. The links must not go in a circle. */
async function endOfLinks(path: string): Promise<string> {
  const isLink = await lstat(path).then(
    (own) => own.isSymbolicLink(),
    () => false,
  )
  if (!isLink) return path
  const target = await readlink(path)
  // What a link says counts from its own folder. Its `..` must not be taken out of the text: above a linked folder is that one's target's.
  const written = isAbsolute(target) ? target : `${await realpath(dirname(path))}/${target}`
  return endOfLinks(join(await realpath(dirname(written)), basename(written)))
}

/**
 * A file that appears under its name only when it is whole: it is written beside it as `<path>.<host>.tmp-<pid>` and renamed by
 * `commit`. After `abort`, or a kill at any instant, what stood under the name before still stands there. A symbolic link stays
 * one, and all of this is done at its end.
 */
export class AtomicFile {
  static readonly #inProgress = new Set<string>()

  /** As it was given. */
  readonly path: string
  /** Where the file lies: `path`, or the end of its links. */
  readonly #location: string
  readonly #file: WritableFile
  readonly #fsync: boolean
  readonly #fileSystem: WritableFileSystem
  #position = 0
  /** What was appended last and is not written yet: `#bufferedBytes` bytes that belong at `#bufferStart`. */
  #buffer = new Uint8Array(0)
  #bufferStart = 0
  #bufferedBytes = 0
  #state: 'writing' | 'closed' | 'finished' = 'writing'

  private constructor(path: string, location: string, file: WritableFile, options: AtomicWriteOptions) {
    this.path = path
    this.#location = location
    this.#file = file
    this.#fsync = options.fsync ?? false
    this.#fileSystem = options.fileSystem ?? nodeFileSystem
  }

  /**
   * @throws {ConfigurationError} where the path is no text; {FileAccessError} where a folder, a device or a pipe has the name, or the system
   *   does not let a file be made there
   */
  static async create(path: string, options: AtomicWriteOptions = {}): Promise<AtomicFile> {
    requirePath(path, 'the path of what is to be written')
    const fileSystem = options.fileSystem ?? nodeFileSystem
    const location = await accessing(path, () => fileSystem.locate(path))
    const temporary = temporaryPath(location)
    if (AtomicFile.#inProgress.has(temporary)) {
      throw new Error(`${path} is already being written by this process; wait for that to end.`)
    }
    AtomicFile.#inProgress.add(temporary)
    try {
      const file = await accessing(path, () => fileSystem.create(temporary))
      return new AtomicFile(path, location, file, options)
    } catch (error) {
      AtomicFile.#inProgress.delete(temporary)
      throw error
    }
  }

  /** Where the next `append` goes: the bytes appended so far. */
  get position(): number {
    return this.#position
  }

  /** Small pieces gather in memory first, so that they do not cost a system call each. */
  async append(data: Uint8Array): Promise<void> {
    this.#requireWriting()
    if (this.#bufferedBytes + data.length > BUFFER_BYTES) await this.#flush()
    if (data.length > BUFFER_BYTES) {
      await this.#attempt(() => this.#file.write(data, this.#position))
      this.#bufferStart += data.length
    } else {
      if (this.#buffer.length === 0) this.#buffer = new Uint8Array(BUFFER_BYTES)
      this.#buffer.set(data, this.#bufferedBytes)
      this.#bufferedBytes += data.length
    }
    this.#position += data.length
  }

  /** Leaves a gap to be filled by `writeAt`, for what is known only later. */
  async skip(length: number): Promise<void> {
    await this.#flush()
    this.#position += length
    this.#bufferStart += length
  }

  /** Writes over what was appended or skipped. */
  async writeAt(data: Uint8Array, position: number): Promise<void> {
    this.#requireWriting()
    if (position + data.length > this.#position) throw new RangeError(`${this.path}: nothing was appended there yet.`)
    if (position >= this.#bufferStart) {
      this.#buffer.set(data, position - this.#bufferStart)
      return
    }
    if (position + data.length > this.#bufferStart) await this.#flush()
    await this.#attempt(() => this.#file.write(data, position))
  }

  async #flush(): Promise<void> {
    if (this.#bufferedBytes === 0) return
    const data = this.#buffer.subarray(0, this.#bufferedBytes)
    await this.#attempt(() => this.#file.write(data, this.#bufferStart))
    this.#bufferStart += this.#bufferedBytes
    this.#bufferedBytes = 0
  }

  /** Gives the file its name, replacing what had it. */
  async commit(): Promise<void> {
    this.#requireWriting()
    try {
      await this.#flush()
      await this.#attempt(async () => {
        if (this.#fsync) await this.#file.sync()
        await this.#closeFile()
        await this.#fileSystem.rename(temporaryPath(this.#location), this.#location)
        if (this.#fsync) await this.#fileSystem.syncDirectory(dirname(this.#location))
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
    await this.#fileSystem.remove(temporaryPath(this.#location)).catch(() => {})
    this.#finish()
  }

  #requireWriting(): void {
    if (this.#state !== 'writing') throw new Error(`${this.path} is closed and cannot be written any more.`)
  }

  #finish(): void {
    this.#state = 'finished'
    AtomicFile.#inProgress.delete(temporaryPath(this.#location))
  }

  async #closeFile(): Promise<void> {
    if (this.#state !== 'writing') return
    this.#state = 'closed'
    await this.#file.close()
  }

  #attempt(action: () => Promise<void>): Promise<void> {
    return accessing(this.path, action)
  }
}

/** @throws {FileAccessError} that names `path`, for whatever `action` throws */
async function accessing<T>(path: string, action: () => Promise<T>): Promise<T> {
  try {
    return await action()
  } catch (error) {
    throw new FileAccessError('write', path, error)
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

/** Writes a file that no reader sees half of. What is no file, a pipe or `/dev/stdout`, is written to as it is. */
export async function writeWhole(path: string, content: string | Uint8Array): Promise<void> {
  const there = await accessing(path, () => ifThere(stat(path)))
  if (there && !there.isFile() && !there.isDirectory()) return accessing(path, () => writeFile(path, content))
  await writeAtomically(path, {}, (file) => file.append(typeof content === 'string' ? Buffer.from(content) : content))
}

/** Of this machine, for machines may share a file system, and a number tells a process of one of them. */
const OF_THIS_MACHINE = `.${encodeURIComponent(hostname())}`

/** Where this process writes a file that is not whole yet; what a kill leaves of it, a later process removes. */
export function temporaryPath(path: string): string {
  return `${path}${OF_THIS_MACHINE}.tmp-${process.pid}`
}

/** By the folder, which may be long: to look through it for each of its files would cost more than to write them. */
const removing = new Map<string, Promise<void>>()

function removeLeftoversOnce(folder: string): Promise<void> {
  const begun = removing.get(folder) ?? removeLeftovers(folder)
  removing.set(folder, begun)
  return begun
}

export interface RemoveLeftoversOptions {
  /** What those of other machines were writing too, of which nothing is known here: for who has the folder to himself. Default: false. */
  readonly ofOtherMachines?: boolean
}

/**
 * Removes what processes of this machine that run no more were writing in a folder: gigabytes, maybe, which nobody else's number would write
 * over. Never throws: that one cannot be removed is no reason not to write.
 */
export async function removeLeftovers(
  folder: string,
  { ofOtherMachines = false }: RemoveLeftoversOptions = {},
): Promise<void> {
  const names = await readdir(folder).catch((): string[] => [])
  const left = names.filter((name) => {
    const [, written, pid] = /^(.*)\.tmp-(\d+)$/.exec(name) ?? []
    if (written === undefined) return false
    return written.endsWith(OF_THIS_MACHINE) ? !runs(Number(pid)) : ofOtherMachines
  })
  await Promise.allSettled(left.map((name) => rm(join(folder, name), { force: true })))
}
