import { FileFormatError } from './errors.ts'
import { BLOCK_BYTES, cString, decimal, type Field, numberOf } from './tar-fields.ts'
import type { TarInput } from './tar-input.ts'

/** What an archive stores of a file with holes (GNU tar's manual, "Storing Sparse Files"): pieces of it, one after the other. */
export interface SparseMap {
  /** Of the whole file, bytes; what lies in no piece is zeros. */
  readonly size: number
  /** In their order, none over another. */
  readonly pieces: readonly { readonly offset: number; readonly length: number }[]
}

/** pax's records `GNU.sparse.…` of one member in their order, the keys without that: in version 0.0 keys repeat. */
export type SparseRecords = readonly (readonly [key: string, value: string])[]

/** The bytes of a map of tens of thousands of pieces; a larger one is damage or an attack. */
const MAX_MAP_BYTES = 2 ** 20

const MAGIC: Field = [257, 8]
const GNU_MAGIC = 'ustar  '

/** The fields of GNU's header for a sparse file, and of each block that follows where its pieces are more than fit. */
const HEADER = { pieces: 386, count: 4, isExtended: 482, size: [483, 12] } as const
const EXTENSION = { pieces: 0, count: 21, isExtended: 504 } as const
const NUMBER_BYTES = 12

/** A number of a map; undefined where none stands there. */
type MapNumber = number | undefined

/** How many bytes the pieces have together. */
export function storedBytes({ pieces }: SparseMap): number {
  return pieces.reduce((sum, { length }) => sum + length, 0)
}

/** The whole file. @param stored its pieces */
export function expandSparse({ size, pieces }: SparseMap, stored: Uint8Array): Uint8Array {
  const whole = new Uint8Array(size)
  let at = 0
  for (const { offset, length } of pieces) {
    whole.set(stored.subarray(at, at + length), offset)
    at += length
  }
  return whole
}

/**
 * The map of a member of GNU's type for sparse files. Takes the blocks that continue the header from the input.
 *
 * @param stored the size in the header
 * @throws {FileFormatError} for a damaged map, and for a header of the type that is not GNU's: star's has other fields
 */
export async function readGnuMap(
  input: TarInput,
  header: Uint8Array,
  stored: number,
  member: string,
): Promise<SparseMap> {
  const [begin, length] = MAGIC
  const isGnu = cString(header.subarray(begin, begin + length)) === GNU_MAGIC
  if (!isGnu) throw unknown(input, member, "a form that is not GNU's")
  const numbers = numbersOf(header, HEADER)
  let isExtended = header[HEADER.isExtended] !== 0
  for (let bytes = 0; isExtended; bytes += BLOCK_BYTES) {
    if (bytes >= MAX_MAP_BYTES) throw endless(input, member)
    const block = await input.read(BLOCK_BYTES, member)
    numbers.push(...numbersOf(block, EXTENSION))
    isExtended = block[EXTENSION.isExtended] !== 0
  }
  return mapOf(input, member, numbers, numberOf(header, HEADER.size), stored)
}

/**
 * The map of a member with records of pax for it. Of version 1.0 it stands before the pieces and is taken from the input; of 0.0 and
 * 0.1 the records are all of it.
 *
 * @param stored the size in the header, that of the map before the pieces included
 * @throws {FileFormatError} for a damaged map and for another version
 */
export async function readPaxMap(
  input: TarInput,
  records: SparseRecords,
  stored: number,
  member: string,
): Promise<SparseMap> {
  const last = new Map(records)
  const size = decimal(last.get('realsize') ?? last.get('size'))
  const [major, minor] = [last.get('major'), last.get('minor')]
  if ((major === undefined) !== (minor === undefined)) {
    const missing = major === undefined ? 'major' : 'minor'
    throw damaged(input, member, `its records of pax have no ${missing} number of their version`)
  }
  if (major === '1' && minor === '0') {
    const begin = input.position
    const numbers = await readLeadingMap(input, stored, member)
    return mapOf(input, member, numbers, size, stored - (input.position - begin))
  }
  if (major !== undefined) throw unknown(input, member, `the version ${major}.${minor} of pax`)
  const listed = last.get('map')
  if (listed !== undefined) return mapOf(input, member, listed.split(',').map(decimal), size, stored)
  const [offsets, lengths] = ['offset', 'numbytes'].map((wanted) =>
    records.filter(([key]) => key === wanted).map(([, value]) => decimal(value)),
  )
  const numbers = offsets!.flatMap((offset, i) => [offset, lengths![i]])
  return mapOf(input, member, numbers, size, stored)
}

/** Offset and length of each piece; the first without a length ends them. */
function numbersOf(block: Uint8Array, { pieces, count }: { pieces: number; count: number }): MapNumber[] {
  const numbers: MapNumber[] = []
  for (let at = pieces; at < pieces + 2 * NUMBER_BYTES * count; at += 2 * NUMBER_BYTES) {
    if (block[at + NUMBER_BYTES] === 0) break
    numbers.push(numberOf(block, [at, NUMBER_BYTES]), numberOf(block, [at + NUMBER_BYTES, NUMBER_BYTES]))
  }
  return numbers
}

/** Lines of a decimal number each, the first the count of the pieces; zeros fill the last block. */
async function readLeadingMap(input: TarInput, stored: number, member: string): Promise<MapNumber[]> {
  const lines: string[] = []
  const end = (): number => 1 + 2 * (decimal(lines[0]) ?? 0)
  let rest = ''
  for (let bytes = BLOCK_BYTES; lines.length < end(); bytes += BLOCK_BYTES) {
    if (bytes > Math.min(stored, MAX_MAP_BYTES)) throw endless(input, member)
    const parts = (rest + Buffer.from(await input.read(BLOCK_BYTES, member)).toString('latin1')).split('\n')
    rest = parts.pop()!
    lines.push(...parts)
  }
  return decimal(lines[0]) === undefined ? [undefined] : lines.slice(1, end()).map(decimal)
}

function mapOf(
  input: TarInput,
  member: string,
  numbers: readonly MapNumber[],
  size: MapNumber,
  stored: number,
): SparseMap {
  if (size === undefined) throw damaged(input, member, 'its size with its holes is no number')
  const pieces: { offset: number; length: number }[] = []
  let end = 0
  for (let i = 0; i < numbers.length; i += 2) {
    const [offset, length] = numbers.slice(i, i + 2)
    if (offset === undefined || length === undefined) {
      throw damaged(input, member, 'a number of its map is missing or is none')
    }
    if (offset < end) {
      throw damaged(input, member, `a piece of its map begins at byte ${offset}, before the end of another`)
    }
    pieces.push({ offset, length })
    end = offset + length
  }
  if (end > size) throw damaged(input, member, `its map reaches to byte ${end} of ${size}`)
  const map = { size, pieces }
  const mapped = storedBytes(map)
  if (mapped !== stored) {
    throw damaged(input, member, `its map is of ${mapped} stored bytes, and there are ${stored}`)
  }
  return map
}

function damaged(input: TarInput, member: string, problem: string): FileFormatError {
  return new FileFormatError(input.path, `the tar archive is damaged at ${member}, a sparse file: ${problem}.`)
}

function endless(input: TarInput, member: string): FileFormatError {
  return damaged(input, member, 'its map does not end')
}

function unknown(input: TarInput, member: string, form: string): FileFormatError {
  return new FileFormatError(
    input.path,
    `${member} is sparse in ${form}, which is not read here. Pack the archive again without --sparse.`,
  )
}
