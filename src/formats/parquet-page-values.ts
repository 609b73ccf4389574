import { dataViewOf } from './byte-order.ts'
import { readDeltas, readPrefixed, readRuns } from './parquet-integers.ts'
import type { DataPage, DataPageV2, DictionaryPage, ParquetPage } from './parquet-pages.ts'

/** A column that has values, and not others under it. */
export interface ParquetLeaf {
  /** The physical type, as the format names it. */
  readonly type: string
  /** Bytes, of FIXED_LEN_BYTE_ARRAY. */
  readonly typeLength: number | undefined
  /** How many of the columns that it lies in, itself included, may be null or repeat. */
  readonly maxDefinition: number
  /** How many of them repeat. */
  readonly maxRepetition: number
}

/** Unpacks what a codec packed. @param size in bytes, of the result */
export type Unpack = (bytes: Uint8Array, size: number) => Uint8Array

/** Numbers of the format's enum. */
const ENCODING = {
  plain: 0,
  plainDictionary: 2,
  runs: 3,
  delta: 5,
  deltaLength: 6,
  deltaBytes: 7,
  dictionary: 8,
  byteStreamSplit: 9,
} as const

/** Bytes of a value. Those of BYTE_ARRAY have a length each, those of BOOLEAN a bit. */
const VALUE_BYTES: Readonly<Record<string, number>> = { INT32: 4, INT64: 8, INT96: 12, FLOAT: 4, DOUBLE: 8 }

/**
 * Checks that the dictionary's values are all there.
 *
 * @throws {RangeError} where they are not; whatever `unpack` throws
 */
export function checkDictionary(page: DictionaryPage, leaf: ParquetLeaf, unpack: Unpack): void {
  const { encoding, values } = page
  if (encoding !== ENCODING.plain && encoding !== ENCODING.plainDictionary) throw unknownEncoding(encoding)
  const data = unpacked(page.bytes, page.size, unpack)
  checkEnd(endOfPlain(data, leaf, values), data)
}

/**
 * Checks that a page's levels and values are all there, before something decodes them that believes what they say of
 * their own lengths.
 *
 * @param dictionary how many values the column's has; undefined where it has none
 * @returns how many rows begin in the page
 * @throws {RangeError} where they are not; whatever `unpack` throws
 */
export function checkData(
  page: DataPage | DataPageV2,
  leaf: ParquetLeaf,
  dictionary: number | undefined,
  unpack: Unpack,
): number {
  const { maxDefinition, maxRepetition } = leaf
  const { repetition, definition, data } = page.kind === 'data' ? sectionsOf(page, leaf, unpack) : partsOf(page, unpack)
  const repetitions = maxRepetition > 0 ? levelsOf(repetition, maxRepetition, page) : undefined
  const definitions = maxDefinition > 0 ? levelsOf(definition, maxDefinition, page) : undefined
  const rows = repetitions ? countOf(repetitions, 0) : page.values
  const there = definitions ? countOf(definitions, maxDefinition) : page.values
  if (page.kind === 'data V2') {
    // Where rows repeat nothing goes by it.
    if (maxRepetition === 0 && page.rows !== rows) {
      throw new RangeError(`it says that it has ${page.rows} rows, and has ${rows}`)
    }
    const nulls = page.values - there
    if (page.nulls !== nulls) throw new RangeError(`it says that it has ${page.nulls} nulls, and has ${nulls}`)
  }
  if (there > 0) checkEnd(endOfValues(page, data, leaf, there, dictionary), data)
  return rows
}

/** Of a page before V2: its levels, where there are any, have their lengths before them. */
function sectionsOf(page: DataPage, { maxDefinition, maxRepetition }: ParquetLeaf, unpack: Unpack) {
  const bytes = unpacked(page.bytes, page.size, unpack)
  let at = 0
  const levels = (max: number, encoding: number): Uint8Array => {
    if (max === 0) return bytes.subarray(0, 0)
    if (encoding !== ENCODING.runs) throw unknownEncoding(encoding)
    const { part, end } = readPrefixed(bytes, at)
    at = end
    return part
  }
  const repetition = levels(maxRepetition, page.repetitionEncoding)
  const definition = levels(maxDefinition, page.definitionEncoding)
  return { repetition, definition, data: bytes.subarray(at) }
}

function partsOf({ bytes, size, repetitionBytes, definitionBytes, isPacked }: DataPageV2, unpack: Unpack) {
  const levels = repetitionBytes + definitionBytes
  if (levels > Math.min(bytes.length, size)) {
    throw new RangeError(
      `it says that it has ${levels} bytes of levels; it has ${bytes.length} bytes, ${size} unpacked`,
    )
  }
  const stored = bytes.subarray(levels)
  return {
    repetition: bytes.subarray(0, repetitionBytes),
    definition: bytes.subarray(repetitionBytes, levels),
    data: unpacked(stored, size - levels, isPacked ? unpack : (same) => same),
  }
}

function unpacked(bytes: Uint8Array, size: number, unpack: Unpack): Uint8Array {
  const data = unpack(bytes, size)
  if (data.length === size) return data
  throw new RangeError(`it has ${data.length} bytes unpacked; its header says ${size}`)
}

function levelsOf(bytes: Uint8Array, max: number, page: ParquetPage): Uint32Array {
  const levels = readRuns(bytes, bitsFor(max), page.values)
  const foreign = levels.find((level) => level > max)
  if (foreign === undefined) return levels
  throw new RangeError(`it has a level of ${foreign}; the highest is ${max}`)
}

/**
 * Where a data page's values end, of those that are packed as integers at the latest.
 *
 * @param there how many are not null
 */
function endOfValues(
  { kind, encoding }: ParquetPage,
  data: Uint8Array,
  leaf: ParquetLeaf,
  there: number,
  dictionary: number | undefined,
): number {
  switch (encoding) {
    case ENCODING.plain:
      return endOfPlain(data, leaf, there)
    case ENCODING.plainDictionary:
    case ENCODING.dictionary:
      checkIndices(data, kind, there, dictionary)
      return data.length
    case ENCODING.runs:
      if (leaf.type !== 'BOOLEAN') throw unknownEncoding(encoding)
      readRuns(readPrefixed(data, 0).part, 1, there)
      return data.length
    case ENCODING.delta:
      readDeltas(data, 0, there)
      return data.length
    case ENCODING.deltaLength: {
      const { lengths, end } = lengthsAt(data, 0, there)
      return lengths.reduce((sum, length) => sum + length, end)
    }
    case ENCODING.deltaBytes: {
      const prefixes = lengthsAt(data, 0, there)
      const suffixes = lengthsAt(data, prefixes.end, there)
      let before = 0
      for (const [i, prefix] of prefixes.lengths.entries()) {
        if (prefix > before) throw new RangeError(`a value begins with ${prefix} bytes of the one before, of ${before}`)
        before = prefix + suffixes.lengths[i]!
      }
      return suffixes.lengths.reduce((sum, length) => sum + length, suffixes.end)
    }
    case ENCODING.byteStreamSplit:
      return there * valueBytes(leaf)
    default:
      throw unknownEncoding(encoding)
  }
}

function endOfPlain(data: Uint8Array, leaf: ParquetLeaf, count: number): number {
  if (leaf.type === 'BOOLEAN') return Math.ceil(count / 8)
  if (leaf.type !== 'BYTE_ARRAY') return count * valueBytes(leaf)
  const view = dataViewOf(data)
  let at = 0
  for (let i = 0; i < count; i++) {
    if (at + 4 > data.length) throw new RangeError(`its bytes end before value ${i} of ${count}`)
    at += 4 + view.getUint32(at, true)
  }
  return at
}

/** A byte with their bits, and then places in the dictionary. */
function checkIndices(
  data: Uint8Array,
  kind: ParquetPage['kind'],
  count: number,
  dictionary: number | undefined,
): void {
  if (dictionary === undefined) throw new RangeError('it has places in a dictionary, and there is none')
  const width = data[0]
  if (width === undefined) throw new RangeError('it has no values')
  // Without bits all are the first: some writers then write no runs before V2.
  if (width === 0 && kind === 'data' && dictionary > 0) return
  const foreign = readRuns(data.subarray(1), width, count).find((index) => index >= dictionary)
  if (foreign === undefined) return
  throw new RangeError(`it has place ${foreign} of a dictionary of ${dictionary} values`)
}

function lengthsAt(data: Uint8Array, begin: number, count: number) {
  const lengths = new Int32Array(count)
  const end = readDeltas(data, begin, count, lengths)
  if (lengths.some((length) => length < 0)) throw new RangeError('it has a value of a negative length')
  return { lengths, end }
}

/** Some writers leave bytes over: fastparquet eight. */
function checkEnd(end: number, data: Uint8Array): void {
  if (end > data.length) throw new RangeError(`its values take ${end} bytes, and it has ${data.length} for them`)
}

function valueBytes({ type, typeLength }: ParquetLeaf): number {
  const bytes = type === 'FIXED_LEN_BYTE_ARRAY' ? typeLength : VALUE_BYTES[type]
  if (bytes === undefined || bytes <= 0) throw new RangeError(`it has values of the type ${type}`)
  return bytes
}

function countOf(levels: Uint32Array, level: number): number {
  return levels.reduce((sum, value) => sum + Number(value === level), 0)
}

function bitsFor(max: number): number {
  return 32 - Math.clz32(max)
}

function unknownEncoding(encoding: number): RangeError {
  return new RangeError(`it has the encoding ${encoding}, which is not read here`)
}
