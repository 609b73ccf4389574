/** A number is an i32, a bigint an i64, an object a struct. */
export type RawValue = number | bigint | boolean | Uint8Array | RawStruct | readonly RawValue[]

/** Fields by their numbers, which ascend. */
export interface RawStruct {
  readonly [field: number]: RawValue | undefined
}

const STOP = 0

/** A struct in Thrift's compact protocol. A field of undefined is left out. */
export function rawThrift(struct: RawStruct): Buffer {
  const parts: Uint8Array[] = []
  let before = 0
  for (const [key, value] of Object.entries(struct)) {
    if (value === undefined) continue
    const field = Number(key)
    parts.push(Buffer.of(((field - before) << 4) | typeOf(value)))
    if (typeof value !== 'boolean') parts.push(bytesOf(value))
    before = field
  }
  return Buffer.concat([...parts, Buffer.of(STOP)])
}

function typeOf(value: RawValue): number {
  if (typeof value === 'boolean') return value ? 1 : 2
  if (typeof value === 'number') return 5
  if (typeof value === 'bigint') return 6
  if (value instanceof Uint8Array) return 8
  return Array.isArray(value) ? 9 : 12
}

function bytesOf(value: RawValue): Uint8Array {
  if (typeof value === 'boolean') return Buffer.of(Number(value))
  if (typeof value === 'number' || typeof value === 'bigint') return zigzag(BigInt(value))
  if (value instanceof Uint8Array) return Buffer.concat([rawVarint(value.length), value])
  if (!Array.isArray(value)) return rawThrift(value as RawStruct)
  const [first = 0] = value as readonly RawValue[]
  const long = value.length >= 15 ? rawVarint(value.length) : Buffer.alloc(0)
  return Buffer.concat([Buffer.of((Math.min(value.length, 15) << 4) | typeOf(first)), long, ...value.map(bytesOf)])
}

function zigzag(value: bigint): Buffer {
  return rawVarint(value < 0n ? -2n * value - 1n : 2n * value)
}

/** Seven bits a byte, the lowest first. */
export function rawVarint(value: number | bigint): Buffer {
  const bytes: number[] = []
  let left = BigInt(value)
  for (; left > 0x7fn; left >>= 7n) bytes.push(Number(left & 0x7fn) | 0x80)
  return Buffer.of(...bytes, Number(left))
}
