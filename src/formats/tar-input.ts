import { createReadStream } from 'node:fs'
import type { Readable } from 'node:stream'
import { createGunzip } from 'node:zlib'
import { FileAccessError, FileFormatError } from './errors.ts'
import { RandomAccessFile } from './random-access-file.ts'

/** The bytes of a tar archive, front to back. */
export interface TarInput {
  readonly path: string
  /** Bytes of the unpacked archive that lie behind. */
  readonly position: number
  /** The next bytes, in a buffer of their own; `what` names them where the archive ends before. */
  read(length: number, what: string): Promise<Uint8Array>
  skip(length: number, what: string): Promise<void>
  close(): Promise<void>
}

/** Read at a time: many small members, or the header of a large one. */
const WINDOW_BYTES = 2 ** 14

/** A tar file that is not compressed: skipping costs nothing. */
class TarFileInput implements TarInput {
  readonly path: string
  readonly #file: RandomAccessFile
  #position = 0
  #window: { readonly start: number; readonly bytes: Uint8Array } = { start: 0, bytes: new Uint8Array(0) }

  private constructor(file: RandomAccessFile) {
    this.path = file.path
    this.#file = file
  }

  static async open(path: string): Promise<TarFileInput> {
    return new TarFileInput(await RandomAccessFile.open(path))
  }

  get position(): number {
    return this.#position
  }

  async read(length: number, what: string): Promise<Uint8Array> {
    this.#require(length, what)
    const begin = this.#position
    this.#position += length
    if (length > WINDOW_BYTES) return this.#file.read(begin, length)
    const { start, bytes } = this.#window
    if (begin < start || begin + length > start + bytes.length) {
      this.#window = {
        start: begin,
        bytes: await this.#file.read(begin, Math.min(WINDOW_BYTES, this.#file.size - begin)),
      }
    }
    const at = begin - this.#window.start
    return this.#window.bytes.slice(at, at + length)
  }

  async skip(length: number, what: string): Promise<void> {
    this.#require(length, what)
    this.#position += length
  }

  close(): Promise<void> {
    return this.#file.close()
  }

  #require(length: number, what: string): void {
    // So that what is no number is refused too.
    if (!(this.#position + length <= this.#file.size)) throw cutOff(this.path, what)
  }
}

/** A gzipped tar file: a stream, in which what is skipped must be unpacked too. */
class TarGzipInput implements TarInput {
  readonly path: string
  readonly #source: Readable
  readonly #unpacked: Readable
  readonly #chunks: AsyncIterator<Buffer, undefined>
  #chunk: Uint8Array = new Uint8Array(0)
  #position = 0

  constructor(path: string) {
    this.path = path
    const source = createReadStream(path, { highWaterMark: 2 ** 18 })
    const gunzip = createGunzip({ chunkSize: 2 ** 18 })
    source.on('error', (error) => gunzip.destroy(error))
    this.#source = source
    this.#unpacked = source.pipe(gunzip)
    this.#chunks = this.#unpacked[Symbol.asyncIterator]() as AsyncIterator<Buffer, undefined>
  }

  get position(): number {
    return this.#position
  }

  async read(length: number, what: string): Promise<Uint8Array> {
    const out = new Uint8Array(length)
    await this.#take(length, what, (piece, at) => out.set(piece, at))
    return out
  }

  async skip(length: number, what: string): Promise<void> {
    await this.#take(length, what, () => {})
  }

  async close(): Promise<void> {
    this.#source.destroy()
    this.#unpacked.destroy()
  }

  async #take(length: number, what: string, use: (piece: Uint8Array, at: number) => void): Promise<void> {
    for (let done = 0; done < length; ) {
      if (this.#chunk.length === 0) this.#chunk = await this.#next(what)
      const piece = this.#chunk.subarray(0, length - done)
      use(piece, done)
      this.#chunk = this.#chunk.subarray(piece.length)
      this.#position += piece.length
      done += piece.length
    }
  }

  async #next(what: string): Promise<Uint8Array> {
    try {
      const { value, done } = await this.#chunks.next()
      if (!done) return value
    } catch (error) {
      const code = error instanceof Error && 'code' in error ? String(error.code) : ''
      if (!code.startsWith('Z_')) throw new FileAccessError('read', this.path, error)
      if (code !== 'Z_BUF_ERROR') {
        throw new FileFormatError(this.path, `it cannot be unpacked near ${what} (${(error as Error).message}).`, {
          cause: error,
        })
      }
    }
    throw cutOff(this.path, what)
  }
}

/** Opens an archive for `readTar`; gzip is told by its first two bytes, whatever the file is called. */
export async function openTarInput(path: string): Promise<TarInput> {
  return (await isGzip(path)) ? new TarGzipInput(path) : TarFileInput.open(path)
}

/** Whether a file begins as gzip does (RFC 1952, 2.3.1). */
export async function isGzip(path: string): Promise<boolean> {
  await using file = await RandomAccessFile.open(path)
  if (file.size < 2) return false
  const [first, second] = await file.read(0, 2)
  return first === 0x1f && second === 0x8b
}

function cutOff(path: string, what: string): FileFormatError {
  return new FileFormatError(
    path,
    `the tar archive is cut off at ${what}: the blocks of zeros that close one are missing. Copy or download it again.`,
  )
}
