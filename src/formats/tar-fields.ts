import { dataViewOf } from './byte-order.ts'

export const BLOCK_BYTES = 512

/** Where a field of a header begins and how long it is, in bytes. */
export type Field = readonly [begin: number, length: number]

/** Octal digits, or, in GNU's extension, a big-endian number after a byte of 0x80; undefined for anything else. */
export function numberOf(block: Uint8Array, [begin, length]: Field): number | undefined {
  const field = block.subarray(begin, begin + length)
  if (field[0] === 0x80) {
    const value = Number(dataViewOf(field).getBigUint64(length - 8))
    return Number.isSafeInteger(value) && field.subarray(1, length - 8).every((byte) => byte === 0) ? value : undefined
  }
  const digits = cString(field).trim()
  if (digits === '') return 0
  return /^[0-7]+$/.test(digits) ? Number.parseInt(digits, 8) : undefined
}

/** A number in decimal digits, as pax has them; undefined for anything else, and for one that is not exact in a double. */
export function decimal(text: string | undefined): number | undefined {
  if (text === undefined || !/^\d+$/.test(text)) return undefined
  return Number.isSafeInteger(Number(text)) ? Number(text) : undefined
}

/** The text before the first NUL. */
export function cString(bytes: Uint8Array): string {
  const end = bytes.indexOf(0)
  return Buffer.from(end < 0 ? bytes : bytes.subarray(0, end)).toString('utf8')
}
