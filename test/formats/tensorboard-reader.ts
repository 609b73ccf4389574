import { dataViewOf } from '../../src/formats/byte-order.ts'
import { maskedCrc32c } from '../../src/formats/crc32c.ts'
import { FileFormatError } from '../../src/formats/errors.ts'
import { RandomAccessFile } from '../../src/formats/random-access-file.ts'
import {
  EVENT,
  IMAGE,
  RECORD_FOOTER_BYTES,
  RECORD_HEADER_BYTES,
  SESSION_LOG,
  SESSION_START,
  SUMMARY,
  TENSOR,
  VALUE,
} from '../../src/formats/tensorboard-protocol.ts'
import { doubleOfBits, floatOfBits, protobufFields } from './protobuf-reader.ts'

export type TensorBoardValue =
  | { readonly kind: 'scalar'; readonly tag: string; readonly value: number }
  | {
      readonly kind: 'image'
      readonly tag: string
      readonly width: number
      readonly height: number
      readonly png: Uint8Array
    }
  | { readonly kind: 'text'; readonly tag: string; readonly text: string }
  /** Of a kind that this reader does not know. */
  | { readonly kind: 'other'; readonly tag: string }

export interface TensorBoardEvent {
  /** Seconds since 1970. */
  readonly wallTime: number
  readonly step: number
  /** `brain.Event:2`, in the first event of a file only. */
  readonly fileVersion?: string
  /** Whether a run starts here, so that what older files have at this step and after it does not count. */
  readonly sessionStart: boolean
  readonly values: readonly TensorBoardValue[]
}

/** A longer record is taken for damage. */
const MAX_RECORD_BYTES = 2 ** 30

/** Most records are tens of bytes, so many are read at once. */
const WINDOW_BYTES = 2 ** 18

/**
 * The events of a file, in order, in bounded memory. A last record that is cut off, as a killed run leaves
 * it, ends them quietly.
 *
 * @throws FileFormatError where a record does not match its checksum.
 */
export async function* readEvents(path: string): AsyncGenerator<TensorBoardEvent> {
  await using file = await RandomAccessFile.open(path)
  let window = new Uint8Array(0)
  let windowStart = 0
  const bytesAt = async (at: number, length: number): Promise<Uint8Array> => {
    if (at + length > windowStart + window.length) {
      window = await file.read(at, Math.min(file.size - at, Math.max(length, WINDOW_BYTES)))
      windowStart = at
    }
    return window.subarray(at - windowStart, at - windowStart + length)
  }
  for (let at = 0; at + RECORD_HEADER_BYTES <= file.size; ) {
    const header = await bytesAt(at, RECORD_HEADER_BYTES)
    const view = dataViewOf(header)
    const length = Number(view.getBigUint64(0, true))
    if (view.getUint32(8, true) !== maskedCrc32c(header.subarray(0, 8)) || length > MAX_RECORD_BYTES) {
      throw new FileFormatError(path, `the record at byte ${at} is damaged: its length does not match its checksum.`)
    }
    const next = at + RECORD_HEADER_BYTES + length + RECORD_FOOTER_BYTES
    if (next > file.size) return
    const body = await bytesAt(at + RECORD_HEADER_BYTES, length + RECORD_FOOTER_BYTES)
    const event = body.subarray(0, length)
    if (dataViewOf(body).getUint32(length, true) !== maskedCrc32c(event)) {
      throw new FileFormatError(path, `the record at byte ${at} is damaged: it does not match its checksum.`)
    }
    yield parseRecord(event, path, at)
    at = next
  }
}

function parseRecord(record: Uint8Array, path: string, at: number): TensorBoardEvent {
  try {
    return parseEvent(record)
  } catch (error) {
    throw new FileFormatError(path, `the record at byte ${at} is no event: ${(error as Error).message}.`)
  }
}

function parseEvent(message: Uint8Array): TensorBoardEvent {
  let wallTime = 0
  let step = 0
  let fileVersion: string | undefined
  let sessionStart = false
  const values: TensorBoardValue[] = []
  for (const { field, bits, bytes } of protobufFields(message)) {
    if (field === EVENT.wallTime) wallTime = doubleOfBits(bits)
    else if (field === EVENT.step) step = Number(BigInt.asIntN(64, bits))
    else if (field === EVENT.fileVersion) fileVersion = text(bytes)
    else if (field === EVENT.sessionLog) sessionStart = isSessionStart(bytes)
    else if (field === EVENT.summary) {
      for (const inner of protobufFields(bytes)) if (inner.field === SUMMARY.value) values.push(parseValue(inner.bytes))
    }
  }
  return { wallTime, step, sessionStart, values, ...(fileVersion === undefined ? {} : { fileVersion }) }
}

function isSessionStart(message: Uint8Array): boolean {
  return [...protobufFields(message)].some(
    ({ field, bits }) => field === SESSION_LOG.status && Number(bits) === SESSION_START,
  )
}

function parseValue(message: Uint8Array): TensorBoardValue {
  let tag = ''
  let found: TensorBoardValue | undefined
  for (const { field, bits, bytes } of protobufFields(message)) {
    if (field === VALUE.tag) tag = text(bytes)
    else if (field === VALUE.simpleValue) found = { kind: 'scalar', tag, value: floatOfBits(bits) }
    else if (field === VALUE.image) found = parseImage(bytes)
    else if (field === VALUE.tensor) found = parseTensor(bytes)
  }
  return { ...(found ?? { kind: 'other' }), tag }
}

function parseImage(message: Uint8Array): TensorBoardValue {
  let width = 0
  let height = 0
  let png = new Uint8Array(0)
  for (const { field, bits, bytes } of protobufFields(message)) {
    if (field === IMAGE.width) width = Number(bits)
    else if (field === IMAGE.height) height = Number(bits)
    else if (field === IMAGE.encodedImage) png = bytes.slice()
  }
  return { kind: 'image', tag: '', width, height, png }
}

function parseTensor(message: Uint8Array): TensorBoardValue {
  for (const { field, bytes } of protobufFields(message)) {
    if (field === TENSOR.stringValue) return { kind: 'text', tag: '', text: text(bytes) }
  }
  return { kind: 'other', tag: '' }
}

function text(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes)
}
