import { dataViewOf } from './byte-order.ts'

/** Types of the compact protocol, https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md. */
const TYPE = {
  stop: 0,
  true: 1,
  false: 2,
  i8: 3,
  i16: 4,
  i32: 5,
  i64: 6,
  double: 7,
  binary: 8,
  list: 9,
  struct: 12,
} as const

/** Of an i64 a bigint, of the shorter integers a number. */
export type ThriftValue = boolean | number | bigint | Uint8Array | readonly ThriftValue[] | ThriftStruct

/** A struct's fields by their numbers. */
export type ThriftStruct = ReadonlyMap<number, ThriftValue>

/** Structs and lists within structs; what Parquet declares has eight. */
const MAX_DEPTH = 16

/** The struct that begins at a byte, and where it ends. @throws RangeError where it is damaged, or has a map, a set or a UUID. */
export function readThriftStruct(bytes: Uint8Array, begin: number): { readonly struct: ThriftStruct; end: number } {
  const view = dataViewOf(bytes)
  let at = begin
  const advance = (count: number): number => {
    const from = at
    if (from + count > bytes.length) throw new RangeError('it ends in the middle of a field')
    at += count
    return from
  }
  /** Unsigned, of at most so many bits. */
  const varint = (bits: number): bigint => {
    let value = 0n
    for (let shift = 0; shift < bits; shift += 7) {
      const byte = bytes[advance(1)]!
      value |= BigInt(byte & 0x7f) << BigInt(shift)
      if (byte >= 0x80) continue
      if (value < 1n << BigInt(bits)) return value
      break
    }
    throw new RangeError(`a number has more than ${bits} bits`)
  }
  const zigzag = (bits: number): bigint => {
    const value = varint(bits)
    return (value >> 1n) ^ -(value & 1n)
  }
  const element = (type: number, depth: number): ThriftValue => {
    switch (type) {
      case TYPE.true:
      case TYPE.false:
        return type === TYPE.true
      case TYPE.i8:
        return view.getInt8(advance(1))
      case TYPE.i16:
        return Number(zigzag(16))
      case TYPE.i32:
        return Number(zigzag(32))
      case TYPE.i64:
        return zigzag(64)
      case TYPE.double:
        return view.getFloat64(advance(8), true)
      case TYPE.binary: {
        const length = Number(varint(32))
        const from = advance(length)
        return bytes.subarray(from, from + length)
      }
      case TYPE.list:
        return list(depth + 1)
      case TYPE.struct:
        return fields(depth + 1)
      default:
        throw new RangeError(`a field has the type ${type}`)
    }
  }
  const requireDepth = (depth: number): void => {
    if (depth > MAX_DEPTH) throw new RangeError(`it has structs and lists within each other, more than ${MAX_DEPTH}`)
  }
  const list = (depth: number): readonly ThriftValue[] => {
    requireDepth(depth)
    const head = bytes[advance(1)]!
    const count = head >> 4 === 15 ? Number(varint(32)) : head >> 4
    const type = head & 15
    // A boolean of a list is a byte of its own.
    const isBoolean = type === TYPE.true || type === TYPE.false
    const values: ThriftValue[] = []
    for (let i = 0; i < count; i++) values.push(isBoolean ? element(TYPE.i8, depth) === 1 : element(type, depth))
    return values
  }
  const fields = (depth: number): ThriftStruct => {
    requireDepth(depth)
    const struct = new Map<number, ThriftValue>()
    for (let field = 0; ; ) {
      const head = bytes[advance(1)]!
      const type = head & 15
      if (type === TYPE.stop) return struct
      field = head >> 4 === 0 ? Number(zigzag(16)) : field + (head >> 4)
      struct.set(field, element(type, depth))
    }
  }
  return { struct: fields(1), end: at }
}
