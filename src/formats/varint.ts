/**
 * An unsigned number of seven bits a byte, the lowest first, of at most ten bytes. It is exact up to 2^53.
 *
 * @throws {RangeError} where it is longer, or the bytes end before it
 */
export function readVarint(bytes: Uint8Array, begin: number): { readonly value: number; readonly end: number } {
  let value = 0
  for (let i = 0; i < 10; i++) {
    const byte = bytes[begin + i]
    if (byte === undefined) throw new RangeError('a number is cut off')
    value += (byte & 0x7f) * 2 ** (7 * i)
    if (byte < 0x80) return { value, end: begin + i + 1 }
  }
  throw new RangeError('a number has more than ten bytes')
}
