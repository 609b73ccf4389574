import type { AsyncBuffer } from 'hyparquet'
import { FileAccessError, FileFormatError } from '../formats/errors.ts'
import { checkData, checkDictionary } from '../formats/parquet-page-values.ts'
import { type ParquetPage, parquetPages } from '../formats/parquet-pages.ts'
import type { RandomAccessFile } from '../formats/random-access-file.ts'
import { readThriftStruct, type ThriftValue } from '../formats/thrift-compact.ts'
import type { ParquetChunk } from './parquet-chunks.ts'
import { reasonOf } from './parquet-footer.ts'

/**
 * The file that `hyparquet` reads a column from. It takes what pages and their headers say of themselves for true, and loops without end
 * over some that are damaged: here each page is checked when its bytes are read, before they are handed out.
 *
 * @param chunks all of the column's
 */
export function checkedFile(file: RandomAccessFile, chunks: readonly ParquetChunk[]): AsyncBuffer {
  const checks = chunks.map((chunk) => new ChunkCheck(chunk))
  const checked = (bytes: Uint8Array<ArrayBuffer>, begin: number): ArrayBuffer => {
    for (const check of checks) {
      try {
        check.read(bytes, begin)
      } catch (cause) {
        const problem = `the column "${check.chunk.name}" cannot be read: ${(cause as Error).message}.`
        throw new FileFormatError(file.path, problem, { cause })
      }
    }
    return bytes.buffer
  }
  let before: Promise<unknown> = Promise.resolve()
  return {
    byteLength: file.size,
    slice: (begin, end = file.size) => {
      const reading = file.read(begin, end - begin)
      // In the order of the calls: a dictionary is asked for before the pages that need it.
      const result = before.then(async () => checked(await reading, begin))
      before = Promise.allSettled([reading, result])
      return result
    },
  }
}

/** What a reader throws of a column is about the file's bytes, unless the system refuses them. */
export function unreadable(path: string, column: string, cause: unknown): FileFormatError | FileAccessError {
  if (cause instanceof FileFormatError || cause instanceof FileAccessError) return cause
  return new FileFormatError(
    path,
    `the column "${column}" cannot be read: ${reasonOf(cause, 'its pages are damaged')}.`,
    {
      cause,
    },
  )
}

/** Checks what is read of a chunk: all of it, its pages from one to another, or their index. */
class ChunkCheck {
  readonly chunk: ParquetChunk
  /** The dictionary's values; undefined where it has none or it has not been read. */
  #dictionary: number | undefined
  /** By the places in the file of the pages, how many rows begin in each; undefined where it has not been read. */
  #index: ReadonlyMap<number, number> | undefined

  constructor(chunk: ParquetChunk) {
    this.chunk = chunk
  }

  /** @param at where in the file the bytes begin */
  read(bytes: Uint8Array, at: number): void {
    const { begin, end, index } = this.chunk
    const last = at + bytes.length
    if (index && at <= index.begin && last >= index.end) {
      this.#index = rowsOfPages(bytes.subarray(index.begin - at, index.end - at), this.chunk)
    }
    if (at <= begin && last >= end) this.#readWhole(bytes.subarray(begin - at, end - at))
    else if (at < end && last > begin) this.#readPart(bytes, at)
  }

  #readWhole(bytes: Uint8Array): void {
    const { begin, values, rows } = this.chunk
    const found = { values: 0, rows: 0 }
    for (const page of parquetPages(bytes, begin)) {
      if (page.kind === 'dictionary') this.#readDictionary(page, begin)
      else {
        // Before anything is made that is as long.
        found.values += page.values
        if (found.values > values) break
        found.rows += this.#readData(page)
      }
    }
    if (found.values !== values) throw new RangeError(`its pages have ${found.values} values; ${values} were expected`)
    if (found.rows !== rows) throw new RangeError(`its pages have ${found.rows} rows; ${rows} were expected`)
  }

  #readPart(bytes: Uint8Array, at: number): void {
    const { begin, end, values } = this.chunk
    if (at < begin || at + bytes.length > end) throw new RangeError('the index of its pages leads out of it')
    for (const page of parquetPages(bytes, at)) {
      if (page.kind === 'dictionary') this.#readDictionary(page, begin)
      else {
        const indexed = this.#index?.get(page.offset)
        if (indexed === undefined) throw new RangeError(`the index of its pages has none at byte ${page.offset}`)
        if (page.values > values) throw new RangeError(`a page has ${page.values} values; it has ${values} in all`)
        const rows = this.#readData(page)
        if (rows !== indexed) {
          throw new RangeError(
            `the index of its pages has ${indexed} rows at byte ${page.offset}; the page there has ${rows}`,
          )
        }
      }
    }
  }

  #readDictionary(page: Extract<ParquetPage, { kind: 'dictionary' }>, begin: number): void {
    if (page.offset !== begin)
      throw new RangeError(`the page at byte ${page.offset} of the file is a second dictionary`)
    named(page, () => checkDictionary(page, this.chunk, this.chunk.unpack))
    this.#dictionary = page.values
  }

  #readData(page: Exclude<ParquetPage, { kind: 'dictionary' }>): number {
    return named(page, () => checkData(page, this.chunk, this.#dictionary, this.chunk.unpack))
  }
}

function named<T>({ offset }: ParquetPage, check: () => T): T {
  try {
    return check()
  } catch (cause) {
    throw new RangeError(`the page at byte ${offset} of the file is damaged: ${(cause as Error).message}`, { cause })
  }
}

/** An OffsetIndex of parquet.thrift. @returns how many rows begin in each page, by where in the file it begins */
function rowsOfPages(bytes: Uint8Array, { begin, end, rows }: ParquetChunk): ReadonlyMap<number, number> {
  const pages = readThriftStruct(bytes, 0).struct.get(1)
  if (!Array.isArray(pages)) throw new RangeError('the index of its pages names none')
  const places = (pages as readonly ThriftValue[]).map((page) => {
    const [offset, size, row] = [1, 2, 3].map((field) => (page instanceof Map ? page.get(field) : undefined))
    return { offset: Number(offset), end: Number(offset) + Number(size), row: Number(row) }
  })
  return new Map(
    places.map(({ offset, row }, i) => {
      const next = places[i + 1] ?? { offset: end, row: rows }
      const isInOrder = offset >= begin && places[i]!.end <= next.offset && row <= next.row && (i > 0 || row === 0)
      if (!isInOrder) throw new RangeError('the index of its pages has them in no order')
      return [offset, next.row - row]
    }),
  )
}
