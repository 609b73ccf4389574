import { dataViewOf } from './byte-order.ts'

/** Wire types of https://protobuf.dev/programming-guides/encoding. */
const VARINT = 0
const FIXED64 = 1
const LENGTH_DELIMITED = 2
const FIXED32 = 5

const encoder = new TextEncoder()

/** A varint field: int32, int64, bool or enum. Negative numbers take ten bytes, as 64-bit two's complement. */
export function varintField(field: number, value: number): Uint8Array {
  return Buffer.concat([tag(field, VARINT), varint(BigInt.asUintN(64, BigInt(value)))])
}

export function doubleField(field: number, value: number): Uint8Array {
  const bytes = new Uint8Array(8)
  dataViewOf(bytes).setFloat64(0, value, true)
  return Buffer.concat([tag(field, FIXED64), bytes])
}

export function floatField(field: number, value: number): Uint8Array {
  const bytes = new Uint8Array(4)
  dataViewOf(bytes).setFloat32(0, value, true)
  return Buffer.concat([tag(field, FIXED32), bytes])
}

/** A field of text, bytes, or a message whose fields are given. */
export function bytesField(field: number, ...parts: readonly (Uint8Array | string)[]): Uint8Array {
  const bytes = parts.map((part) => (typeof part === 'string' ? encoder.encode(part) : part))
  const length = bytes.reduce((sum, part) => sum + part.length, 0)
  return Buffer.concat([tag(field, LENGTH_DELIMITED), varint(BigInt(length)), ...bytes])
}

function tag(field: number, wireType: number): Uint8Array {
  return varint(BigInt((field << 3) | wireType))
}

function varint(value: bigint): Uint8Array {
  const bytes: number[] = []
  for (; value > 0x7fn; value >>= 7n) bytes.push(Number(value & 0x7fn) | 0x80)
  bytes.push(Number(value))
  return Uint8Array.from(bytes)
}

/** One field of a message: numbers for varint, fixed32 and fixed64 (as unsigned bits), bytes for the rest. */
export interface ProtobufField {
  readonly field: number
  readonly bits: bigint
  readonly bytes: Uint8Array
}

const NO_BYTES = new Uint8Array(0)

/** The fields of a message, in order. @throws RangeError where it is damaged. */
export function* protobufFields(message: Uint8Array): Generator<ProtobufField> {
  const view = dataViewOf(message)
  let at = 0
  const advance = (count: number): number => {
    const begin = at
    if (begin + count > message.length) throw new RangeError('a message ends in the middle of a field')
    at += count
    return begin
  }
  const readVarint = (): bigint => {
    let value = 0n
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = message[advance(1)]!
      value |= BigInt(byte & 0x7f) << shift
      if (byte < 0x80) return BigInt.asUintN(64, value)
    }
    throw new RangeError('a number has more than ten bytes')
  }
  while (at < message.length) {
    const key = Number(readVarint())
    const field = Math.floor(key / 8)
    const wireType = key % 8
    if (wireType === VARINT) yield { field, bits: readVarint(), bytes: NO_BYTES }
    else if (wireType === FIXED64) yield { field, bits: view.getBigUint64(advance(8), true), bytes: NO_BYTES }
    else if (wireType === FIXED32) yield { field, bits: BigInt(view.getUint32(advance(4), true)), bytes: NO_BYTES }
    else if (wireType === LENGTH_DELIMITED) {
      const length = Number(readVarint())
      const begin = advance(length)
      yield { field, bits: 0n, bytes: message.subarray(begin, begin + length) }
    } else {
      throw new RangeError(`a field has the wire type ${wireType}`)
    }
  }
}

/** A float from the bits of a fixed32 field. */
export function floatOfBits(bits: bigint): number {
  const bytes = new Uint8Array(4)
  dataViewOf(bytes).setUint32(0, Number(bits), true)
  return dataViewOf(bytes).getFloat32(0, true)
}

/** A double from the bits of a fixed64 field. */
export function doubleOfBits(bits: bigint): number {
  const bytes = new Uint8Array(8)
  dataViewOf(bytes).setBigUint64(0, bits, true)
  return dataViewOf(bytes).getFloat64(0, true)
}
