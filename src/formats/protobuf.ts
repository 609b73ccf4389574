import { dataViewOf } from './byte-order.ts'

/** Wire types of https://protobuf.dev/programming-guides/encoding. */
export const VARINT = 0
export const FIXED64 = 1
export const LENGTH_DELIMITED = 2
export const FIXED32 = 5

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
