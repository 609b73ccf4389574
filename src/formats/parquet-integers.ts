import { dataViewOf } from './byte-order.ts'
import { readVarint } from './varint.ts'

/** Packed integers of https://parquet.apache.org/docs/file-format/data-pages/encodings. */

/** Integers that only fill a run: DuckDB has up to 255. Of no bits each they would be as many as a damaged header says. */
const MAX_FILLING = 2 ** 16

/**
 * Integers as runs: of one value that repeats (RLE), or of groups of eight that are packed bit by bit.
 *
 * @param width bits of each, at most 32
 * @returns `count` integers
 * @throws {RangeError} where the runs give fewer of them, or more but for what fills the last one of groups
 */
export function readRuns(bytes: Uint8Array, width: number, count: number): Uint32Array {
  if (width > 32) throw new RangeError(`a run has integers of ${width} bits`)
  const values = new Uint32Array(count)
  const valueBytes = Math.ceil(width / 8)
  for (let at = 0, seen = 0; seen < count; ) {
    const header = readVarint(bytes, at)
    at = header.end
    const left = count - seen
    if (header.value % 2 === 1) {
      const groups = (header.value - 1) / 2
      const length = Math.min(8 * groups, left)
      const more = 8 * groups - length
      const isWhole = at + groups * width <= bytes.length
      // The bytes that only fill the last group may be left out.
      const isLegal = more < 8 ? at + Math.ceil((length * width) / 8) <= bytes.length : isWhole && more < MAX_FILLING
      if (!isLegal) throw wrongRun(8 * groups, left)
      for (let i = 0; i < length; i++) values[seen + i] = bitsAt(bytes, 8 * at + i * width, width)
      at += groups * width
      seen += length
    } else {
      const length = header.value / 2
      if (length > left || at + valueBytes > bytes.length) throw wrongRun(length, left)
      values.fill(bitsAt(bytes, 8 * at, 8 * valueBytes), seen, seen + length)
      at += valueBytes
      seen += length
    }
  }
  return values
}

function wrongRun(length: number, left: number): RangeError {
  return new RangeError(`a run of ${length} integers stands where ${left} are left, or it is cut off`)
}

/**
 * Integers as their differences, which blocks of miniblocks have packed bit by bit (DELTA_BINARY_PACKED).
 *
 * @param begin where in the bytes they begin
 * @param into what they are written to where they are of 32 bits and wanted
 * @returns where they end
 * @throws {RangeError} where there are not `count` of them
 */
export function readDeltas(bytes: Uint8Array, begin: number, count: number, into?: Int32Array): number {
  let at = begin
  const next = (): number => {
    const { value, end } = readVarint(bytes, at)
    at = end
    return value
  }
  const signed = (): number => {
    const value = next()
    return value % 2 === 0 ? value / 2 : -(value + 1) / 2
  }
  const block = next()
  const miniblocks = next()
  const declared = next()
  const perMiniblock = block / miniblocks
  if (declared !== count) throw new RangeError(`it has ${declared} integers; ${count} were expected`)
  if (!(block > 0 && perMiniblock > 0 && perMiniblock % 32 === 0)) {
    throw new RangeError(`it has blocks of ${block} integers in ${miniblocks} parts`)
  }
  let value = signed()
  if (into) into[0] = value
  for (let seen = 1; seen < count; ) {
    const least = signed()
    const widths = at
    at += miniblocks
    if (at > bytes.length) throw new RangeError('a block of integers is cut off')
    for (let i = 0; i < miniblocks && seen < count; i++) {
      const width = bytes[widths + i]!
      const length = Math.min(perMiniblock, count - seen)
      if (width > (into ? 32 : 64)) throw new RangeError(`a block has integers of ${width} bits`)
      if (at + Math.ceil((length * width) / 8) > bytes.length) throw new RangeError('a block of integers is cut off')
      for (let j = 0; into && j < length; j++) {
        // Differences wrap around as the integers do.
        value = (value + least + bitsAt(bytes, 8 * at + j * width, width)) | 0
        into[seen + j] = value
      }
      seen += length
      at += (perMiniblock * width) / 8
    }
  }
  return at
}

/** At most 32 bits from a bit of the bytes, the lowest first. */
function bitsAt(bytes: Uint8Array, bit: number, width: number): number {
  const shift = bit % 8
  let value = 0
  for (let i = 0, at = (bit - shift) / 8; 8 * i < shift + width; i++) value += (bytes[at + i] ?? 0) * 2 ** (8 * i)
  return Math.floor(value / 2 ** shift) % 2 ** width
}

/** A length of 32 bits and that many bytes. @returns those, and where they end */
export function readPrefixed(bytes: Uint8Array, begin: number): { readonly part: Uint8Array; readonly end: number } {
  const from = begin + 4
  if (from > bytes.length) throw new RangeError('a length is cut off')
  const end = from + dataViewOf(bytes).getUint32(begin, true)
  if (end > bytes.length) throw new RangeError(`there are ${end - bytes.length} bytes fewer than a length says`)
  return { part: bytes.subarray(from, end), end }
}
