/** Castagnoli's polynomial, bits reversed (RFC 3720, appendix B.4). */
const POLYNOMIAL = 0x82f63b78

/** TABLES[k][b]: the checksum of the byte b followed by k zero bytes, for eight bytes at a time ("slicing by 8"). */
const TABLES: readonly Int32Array[] = makeTables()

function makeTables(): Int32Array[] {
  const tables = Array.from({ length: 8 }, () => new Int32Array(256))
  for (let byte = 0; byte < 256; byte++) {
    let sum = byte
    for (let bit = 0; bit < 8; bit++) sum = sum & 1 ? (sum >>> 1) ^ POLYNOMIAL : sum >>> 1
    tables[0]![byte] = sum
  }
  for (let byte = 0; byte < 256; byte++) {
    for (let k = 1; k < 8; k++) {
      const previous = tables[k - 1]![byte]!
      tables[k]![byte] = (previous >>> 8) ^ tables[0]![previous & 0xff]!
    }
  }
  return tables
}

/** CRC-32C (Castagnoli) of the bytes, as an unsigned number. Node's zlib has CRC-32 only, which is another polynomial. */
export function crc32c(bytes: Uint8Array): number {
  const [t0, t1, t2, t3, t4, t5, t6, t7] = TABLES as [
    Int32Array,
    Int32Array,
    Int32Array,
    Int32Array,
    Int32Array,
    Int32Array,
    Int32Array,
    Int32Array,
  ]
  let sum = -1
  let i = 0
  for (const end = bytes.length - 7; i < end; i += 8) {
    sum ^= bytes[i]! | (bytes[i + 1]! << 8) | (bytes[i + 2]! << 16) | (bytes[i + 3]! << 24)
    sum =
      t7[sum & 0xff]! ^
      t6[(sum >>> 8) & 0xff]! ^
      t5[(sum >>> 16) & 0xff]! ^
      t4[sum >>> 24]! ^
      t3[bytes[i + 4]!]! ^
      t2[bytes[i + 5]!]! ^
      t1[bytes[i + 6]!]! ^
      t0[bytes[i + 7]!]!
  }
  for (; i < bytes.length; i++) sum = (sum >>> 8) ^ t0[(sum ^ bytes[i]!) & 0xff]!
  return (sum ^ -1) >>> 0
}

/** The checksum as TensorFlow's record files store it: rotated and offset, so that sums of sums stay good. */
export function maskedCrc32c(bytes: Uint8Array): number {
  const sum = crc32c(bytes)
  return (((sum >>> 15) | (sum << 17)) + 0xa282ead8) >>> 0
}
