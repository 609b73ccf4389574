import { dataViewOf } from '../../src/formats/byte-order.ts'
import { FIXED32, FIXED64, LENGTH_DELIMITED, VARINT } from '../../src/formats/protobuf.ts'

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
