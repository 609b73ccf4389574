import { type FileHandle, open } from 'node:fs/promises'
import { FileAccessError, FileFormatError } from './errors.ts'

/** One read call of Node takes at most 2^31 - 1 bytes; this is the largest page multiple below that. */
const MAX_BYTES_PER_READ = 2 ** 31 - 4096

/** A regular file, read by range. Every failure names the file. */
export class RandomAccessFile {
  readonly path: string
  /** Bytes, when it was opened. */
  readonly size: number
  #handle: FileHandle | undefined

  private constructor(path: string, size: number, handle: FileHandle) {
    this.path = path
    this.size = size
    this.#handle = handle
  }

  static async open(path: string): Promise<RandomAccessFile> {
    let handle: FileHandle | undefined
    try {
      handle = await open(path, 'r')
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
    // Not zeroed first: every byte is read over, or this throws.
    const target = new Uint8Array(Buffer.allocUnsafeSlow(length).buffer)
    await this.readInto(target, offset)
    return target
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
