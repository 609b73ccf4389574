import * as z from 'zod'
import { DTYPE_BYTES, type DType, elementCount } from '../tensor/dtype.ts'
import { FileFormatError } from './errors.ts'

/**
 * The safetensors layout (https://github.com/huggingface/safetensors, "Format"): 8 bytes little-endian length N of the
 * header; N bytes of JSON `{name: {dtype, shape, data_offsets: [begin, end]}, "__metadata__": {key: string}}`, which may
 * be padded with spaces; then the data, where the tensors stand without gaps or overlaps up to the end of the file.
 */
export const LENGTH_BYTES = 8

/** The reference implementation refuses longer headers, so that a damaged length cannot ask for all memory. */
export const MAX_HEADER_BYTES = 100_000_000

/** The data starts at a multiple of this. */
const HEADER_ALIGNMENT = 8

/** Where the writer keeps the tensors' CRC-32, as JSON `{name: "8 hex digits"}`. */
export const CHECKSUM_KEY = 'crc32'

/** Says whose tensors they are. accelerate and huggingface_hub, and the Transformers library before its version 5, refuse metadata without it. */
export const FORMAT_KEY = 'format'

const DTYPE_OF_NAME: Readonly<Record<string, DType>> = {
  F64: 'f64',
  F32: 'f32',
  F16: 'f16',
  BF16: 'bf16',
  I64: 'i64',
  I32: 'i32',
  I16: 'i16',
  I8: 'i8',
  U8: 'u8',
  BOOL: 'bool',
}

const NAME_OF_DTYPE = Object.fromEntries(Object.entries(DTYPE_OF_NAME).map(([name, dtype]) => [dtype, name]))

export interface TensorLocation {
  readonly dtype: DType
  readonly shape: readonly number[]
  readonly byteLength: number
  /** From the start of the data, which follows the header. */
  readonly begin: number
}

export interface SafetensorsHeader {
  readonly metadata: Readonly<Record<string, string>>
  readonly tensors: ReadonlyMap<string, TensorLocation>
}

const sizeSchema = z.int().nonnegative()
const entrySchema = z.strictObject({
  dtype: z.string(),
  shape: z.array(sizeSchema),
  data_offsets: z.tuple([sizeSchema, sizeSchema]),
})

/** Reads and checks a header; `dataBytes` is how many bytes follow it in the file. */
export function parseHeader(path: string, json: Uint8Array, dataBytes: number): SafetensorsHeader {
  const { root, names } = parseJsonObject(path, json)
  const tensors = new Map<string, TensorLocation>()
  let metadata: Readonly<Record<string, string>> = Object.freeze(Object.create(null))
  for (const name of names) {
    const value = root[name]
    if (name === '__metadata__') metadata = parseMetadata(path, value)
    else tensors.set(name, parseEntry(path, name, value))
  }
  checkCoverage(path, tensors, dataBytes)
  return { metadata, tensors }
}

/** The header's bytes, length prefix and padding included, for tensors that follow one another in the given order. */
export function serialiseHeader(
  tensors: Iterable<readonly [name: string, dtype: DType, shape: readonly number[], byteLength: number]>,
  metadata: Readonly<Record<string, string>>,
): Uint8Array {
  // Built as text, since an object would move integer-like names to the front and could not hold `__proto__`.
  const members: string[] = []
  if (Object.keys(metadata).length > 0) {
    const pairs = Object.entries(metadata).map(([key, value]) => `${JSON.stringify(key)}:${JSON.stringify(value)}`)
    members.push(`"__metadata__":{${pairs.join(',')}}`)
  }
  let begin = 0
  for (const [name, dtype, shape, byteLength] of tensors) {
    const end = begin + byteLength
    const entry = { dtype: NAME_OF_DTYPE[dtype], shape, data_offsets: [begin, end] }
    members.push(`${JSON.stringify(name)}:${JSON.stringify(entry)}`)
    begin = end
  }
  const json = new TextEncoder().encode(`{${members.join(',')}}`)
  const padded = Math.ceil(json.length / HEADER_ALIGNMENT) * HEADER_ALIGNMENT
  if (padded > MAX_HEADER_BYTES) {
    throw new RangeError(`A safetensors header of ${padded} bytes is over the format's limit of ${MAX_HEADER_BYTES}.`)
  }
  const bytes = new Uint8Array(LENGTH_BYTES + padded).fill(0x20, LENGTH_BYTES)
  new DataView(bytes.buffer).setBigUint64(0, BigInt(padded), true)
  bytes.set(json, LENGTH_BYTES)
  return bytes
}

/** The header's object, and its names in their order, which the object does not keep for names such as "7". */
function parseJsonObject(path: string, bytes: Uint8Array): { root: Record<string, unknown>; names: Iterable<string> } {
  let text: string
  let root: unknown
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes)
    root = JSON.parse(text)
  } catch (error) {
    throw new FileFormatError(path, `the safetensors header is not valid JSON (${(error as Error).message}).`)
  }
  if (typeof root !== 'object' || root === null || Array.isArray(root)) {
    throw new FileFormatError(path, 'the safetensors header is not a JSON object.')
  }
  const names = uniqueKeys(text, (key) => {
    throw new FileFormatError(path, `the safetensors header names ${JSON.stringify(key)} twice.`)
  })
  return { root: root as Record<string, unknown>, names }
}

/**
 * The keys of the outermost object of this valid JSON, in order; calls `refuse` for a key that any object has twice.
 * JSON.parse keeps the last silently, which would let two readers see different tensors in one file.
 */
function uniqueKeys(json: string, refuse: (key: string) => never): Iterable<string> {
  const outermost = new Set<string>()
  /** The keys of each object that is open, and null for each array. */
  const open: (Set<string> | null)[] = []
  for (let at = 0; at < json.length; at++) {
    const character = json[at]
    if (character === '{') open.push(open.length === 0 ? outermost : new Set())
    else if (character === '[') open.push(null)
    else if (character === '}' || character === ']') open.pop()
    else if (character === '"') {
      const begin = at++
      while (json[at] !== '"') at += json[at] === '\\' ? 2 : 1
      if (!isKey(json, at + 1)) continue
      const key: string = JSON.parse(json.slice(begin, at + 1))
      const keys = open.at(-1)
      if (keys?.has(key)) refuse(key)
      keys?.add(key)
    }
  }
  return outermost
}

/** Whether the string that ended before `at` is followed by a colon. */
function isKey(json: string, at: number): boolean {
  while (json[at] === ' ' || json[at] === '\n' || json[at] === '\r' || json[at] === '\t') at++
  return json[at] === ':'
}

function parseMetadata(path: string, value: unknown): Readonly<Record<string, string>> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new FileFormatError(path, 'the safetensors __metadata__ is not an object.')
  }
  const metadata: Record<string, string> = Object.create(null)
  for (const [key, text] of Object.entries(value)) {
    if (typeof text !== 'string') {
      throw new FileFormatError(path, `the safetensors metadata ${JSON.stringify(key)} is not a string.`)
    }
    metadata[key] = text
  }
  return Object.freeze(metadata)
}

function parseEntry(path: string, name: string, value: unknown): TensorLocation {
  const what = `tensor ${JSON.stringify(name)}`
  const parsed = entrySchema.safeParse(value)
  if (!parsed.success) {
    const { path: field, message } = parsed.error.issues[0]!
    const where = field.length > 0 ? `${what}, ${field.join('.')}` : what
    throw new FileFormatError(path, `${where}: ${message}. Each tensor needs a dtype, a shape and two data_offsets.`)
  }
  const { data_offsets: offsets } = parsed.data
  const shape = Object.freeze(parsed.data.shape)
  const dtype = Object.hasOwn(DTYPE_OF_NAME, parsed.data.dtype) ? DTYPE_OF_NAME[parsed.data.dtype] : undefined
  if (dtype === undefined) {
    const known = Object.keys(DTYPE_OF_NAME).join(', ')
    throw new FileFormatError(path, `${what} has the dtype ${JSON.stringify(parsed.data.dtype)}; known are ${known}.`)
  }
  const [begin, end] = offsets
  if (begin > end) throw new FileFormatError(path, `${what} begins at byte ${begin}, after its end at byte ${end}.`)
  const byteLength = elementCount(shape) * DTYPE_BYTES[dtype]
  if (!Number.isSafeInteger(byteLength)) {
    throw new FileFormatError(path, `${what} has the shape [${shape}], which is too large to be real.`)
  }
  if (end - begin !== byteLength) {
    const given = `${end - begin} bytes (${begin} to ${end})`
    throw new FileFormatError(path, `${what} is given ${given}, but ${dtype} [${shape}] takes ${byteLength} bytes.`)
  }
  return { dtype, shape, byteLength, begin }
}

function checkCoverage(path: string, tensors: ReadonlyMap<string, TensorLocation>, dataBytes: number): void {
  const inOrder = [...tensors].sort(([, a], [, b]) => a.begin - b.begin || a.byteLength - b.byteLength)
  let position = 0
  for (const [name, { begin, byteLength }] of inOrder) {
    if (begin !== position) {
      const fault =
        begin < position ? 'overlaps the tensor before it' : `leaves a hole of ${begin - position} bytes before it`
      throw new FileFormatError(path, `tensor ${JSON.stringify(name)} (at byte ${begin} of the data) ${fault}.`)
    }
    position = begin + byteLength
  }
  if (position > dataBytes) {
    const ends = inOrder.find(([, { begin, byteLength }]) => begin + byteLength > dataBytes)!
    throw new FileFormatError(
      path,
      `the file is truncated: ${position - dataBytes} of ${position} bytes of data are missing, ` +
        `from tensor ${JSON.stringify(ends[0])} on. Copy or download it again.`,
    )
  }
  if (position < dataBytes) {
    throw new FileFormatError(path, `${dataBytes - position} bytes follow the last tensor; they belong to nothing.`)
  }
}
