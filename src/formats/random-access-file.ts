import { constants as bufferLimits } from 'node:buffer'
import { constants } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'
import { FileAccessError, FileFormatError } from './errors.ts'

/** One read call of Node takes at most 2^31 - 1 bytes; this is the largest page multiple below that. */
const MAX_BYTES_PER_READ = 2 ** 31 - 4096

/** Bytes that `pieces` reads at a time. */
const PIECE_BYTES = 2 ** 20

/** A regular file, read by range. Every failure names the file. */
export class RandomAccessFile {
  readonly path: string
  /** Bytes, when it was opened. */
  readonly size: number
  #handle: FileHandle | undefined
  /** The buffer of `pieces`, between two calls of it. */
  #spare: Uint8Array | undefined

  private constructor(path: string, size: number, handle: FileHandle) {
    this.path = path
    this.size = size
    this.#handle = handle
  }

  static async open(path: string): Promise<RandomAccessFile> {
    let handle: FileHandle | undefined
    try {
      // Of a pipe that nobody writes to, opening would wait for somebody; to a file it makes no difference.
      handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK)
      const stat = await handle.stat()
      if (stat.isDirectory()) throw Object.assign(new Error('it is a directory'), { code: 'EISDIR' })
      if (!stat.isFile()) throw new Error('it is not a regular file')
      return new RandomAccessFile(path, stat.size, handle)
    } catch (error) {
      await handle?.close()
      throw new FileAccessError('read', path, error)
    }
  }

  /** Exactly `length` bytes from `offset`, in a buffer of their own; throws when the file ends before that. */
  async read(offset: number, length: number): Promise<Uint8Array<ArrayBuffer>> {
    if (offset + length > this.size) {
      const missing = offset + length - this.size
      throw new FileFormatError(this.path, `the file is truncated: ${missing} bytes are missing at its end.`)
    }
    if (length > bufferLimits.MAX_LENGTH) {
      const most = `Node ${process.version} holds ${bufferLimits.MAX_LENGTH} bytes at once`
      throw new FileAccessError(
        'read',
        this.path,
        new Error(`${most}, and ${length} are needed; a newer one holds more`),
      )
    }
    // Not zeroed first: every byte is read over, or this throws.
    const target = new Uint8Array(Buffer.allocUnsafeSlow(length).buffer)
    await this.readInto(target, offset)
    return target
  }

  /**
   * `length` bytes from `offset`, piece by piece. All pieces share one buffer: each is valid until the next is asked for, so that a
   * file of any size leaves nothing for the garbage collector.
   */
  async *pieces(offset: number, length: number): AsyncGenerator<Uint8Array, void, undefined> {
    // Two that run at the same time have one each.
    const buffer = this.#spare ?? new Uint8Array(PIECE_BYTES)
    this.#spare = undefined
    try {
      for (let done = 0; done < length; done += PIECE_BYTES) {
        const piece = buffer.subarray(0, Math.min(PIECE_BYTES, length - done))
        await this.readInto(piece, offset + done)
        yield piece
      }
    } finally {
      this.#spare = buffer
    }
  }

  /** Fills `target` from `offset`. */
  async readInto(target: Uint8Array, offset: number): Promise<void> {
    if (this.#handle === undefined) throw new Error(`${this.path} is closed and cannot be read any more.`)
    for (let done = 0; done < target.length; ) {
      const length = Math.min(target.length - done, MAX_BYTES_PER_READ)
      let bytesRead: number
      try {
        ;({ bytesRead } = await this.#handle.read(target, done, length, offset + done))
      } catch (error) {
        throw new FileAccessError('read', this.path, error)
      }
      if (bytesRead === 0) throw new FileFormatError(this.path, 'the file was cut short while it was being read.')
      done += bytesRead
    }
  }

  async close(): Promise<void> {
    const handle = this.#handle
    this.#handle = undefined
    await handle?.close()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }
}
