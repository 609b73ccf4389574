import { crc32 } from 'node:zlib'
import { readThriftStruct, type ThriftStruct } from './thrift-compact.ts'

/** A page of a column chunk, as parquet.thrift (https://github.com/apache/parquet-format) has its header. */
export type ParquetPage = DictionaryPage | DataPage | DataPageV2

interface PageBase {
  /** Where its header begins, in the file. */
  readonly offset: number
  /** As it is stored, without its header. */
  readonly bytes: Uint8Array
  /** How many bytes it has unpacked. */
  readonly size: number
  /** Of a data page with those that are null. */
  readonly values: number
  /** The number of it in the format's enum. */
  readonly encoding: number
}

export interface DictionaryPage extends PageBase {
  readonly kind: 'dictionary'
}

/** Levels and values are packed together. */
export interface DataPage extends PageBase {
  readonly kind: 'data'
  readonly definitionEncoding: number
  readonly repetitionEncoding: number
}

/** Levels, first those of repetition, stand before the values and are never packed. */
export interface DataPageV2 extends PageBase {
  readonly kind: 'data V2'
  readonly nulls: number
  readonly rows: number
  readonly definitionBytes: number
  readonly repetitionBytes: number
  readonly isPacked: boolean
}

const PAGE_TYPE = { data: 0, dictionary: 2, dataV2: 3 } as const

/**
 * The pages that some bytes of a column chunk are, one after the other without a gap.
 *
 * @param begin where the bytes begin in the file
 * @throws {RangeError} where a header is damaged or lacks a field, a page does not end with the bytes at the latest, or does not match
 *   the CRC-32 that its header has
 */
export function* parquetPages(bytes: Uint8Array, begin: number): Generator<ParquetPage, void, undefined> {
  for (let at = 0; at < bytes.length; ) {
    const offset = begin + at
    const { struct: header, end } = headerAt(bytes, at, offset)
    const size = count(header, 2, 'unpacked size', offset)
    const packed = count(header, 3, 'size', offset)
    if (end + packed > bytes.length) {
      throw new RangeError(
        `the page at byte ${offset} of the file has ${packed} bytes; the column has ${bytes.length - end} left`,
      )
    }
    const page = bytes.subarray(end, end + packed)
    const sum = header.get(4)
    if (typeof sum === 'number' && crc32(page) !== sum >>> 0) {
      throw new RangeError(`the page at byte ${offset} of the file does not match its CRC-32`)
    }
    yield pageOf(header, { offset, bytes: page, size })
    at = end + packed
  }
}

function headerAt(bytes: Uint8Array, at: number, offset: number) {
  try {
    return readThriftStruct(bytes, at)
  } catch (error) {
    throw new RangeError(`the header of the page at byte ${offset} of the file is damaged: ${(error as Error).message}`)
  }
}

function pageOf(header: ThriftStruct, base: Pick<PageBase, 'offset' | 'bytes' | 'size'>): ParquetPage {
  const { offset } = base
  const type = count(header, 1, 'type', offset)
  if (type === PAGE_TYPE.dictionary) {
    const own = part(header, 7, 'dictionary', offset)
    return {
      ...base,
      kind: 'dictionary',
      values: count(own, 1, 'number of values', offset),
      encoding: count(own, 2, 'encoding', offset),
    }
  }
  if (type === PAGE_TYPE.data) {
    const own = part(header, 5, 'data', offset)
    return {
      ...base,
      kind: 'data',
      values: count(own, 1, 'number of values', offset),
      encoding: count(own, 2, 'encoding', offset),
      definitionEncoding: count(own, 3, 'encoding of definition levels', offset),
      repetitionEncoding: count(own, 4, 'encoding of repetition levels', offset),
    }
  }
  if (type !== PAGE_TYPE.dataV2) throw new RangeError(`the page at byte ${offset} of the file has the type ${type}`)
  const own = part(header, 8, 'data', offset)
  const isPacked = own.get(7) ?? true
  if (typeof isPacked !== 'boolean') throw wrong('word on whether it is packed', offset)
  return {
    ...base,
    kind: 'data V2',
    values: count(own, 1, 'number of values', offset),
    nulls: count(own, 2, 'number of nulls', offset),
    rows: count(own, 3, 'number of rows', offset),
    encoding: count(own, 4, 'encoding', offset),
    definitionBytes: count(own, 5, 'size of definition levels', offset),
    repetitionBytes: count(own, 6, 'size of repetition levels', offset),
    isPacked,
  }
}

function count(struct: ThriftStruct, field: number, what: string, offset: number): number {
  const value = struct.get(field)
  if (value === undefined) throw new RangeError(`the header of the page at byte ${offset} of the file has no ${what}`)
  if (typeof value !== 'number' || !Number.isInteger(value) || value < 0) throw wrong(what, offset)
  return value
}

function part(header: ThriftStruct, field: number, what: string, offset: number): ThriftStruct {
  const value = header.get(field)
  if (value instanceof Map) return value
  throw new RangeError(`the header of the page at byte ${offset} of the file has nothing of its ${what}`)
}

function wrong(what: string, offset: number): RangeError {
  return new RangeError(`the header of the page at byte ${offset} of the file has a wrong ${what}`)
}
