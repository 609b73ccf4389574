import { float16ToNumber } from './host-tensor.ts'

const word = new Float32Array(1)
const bits = new Uint32Array(word.buffer)

/** IEEE 754 binary16, rounded to nearest, ties to even; beyond 65504 infinity. */
export function numberToFloat16(value: number): number {
  word[0] = value
  const x = bits[0]!
  const sign = (x >>> 16) & 0x8000
  const magnitude = x & 0x7fff_ffff
  if (magnitude > 0x7f80_0000) return sign | 0x7e00
  // 65520 is half way to what would follow 65504.
  if (magnitude >= 0x477f_f000) return sign | 0x7c00
  if (magnitude < 0x3880_0000) {
    // Subnormal: a multiple of 2^-24; adding 0.5 lets float32 do the rounding to one.
    word[0] = Math.abs(value) + 0.5
    return sign | (bits[0]! - 0x3f00_0000)
  }
  const even = (magnitude >>> 13) & 1
  return sign | ((magnitude - 0x3800_0000 + 0xfff + even) >>> 13)
}

let numbers: Float32Array | undefined

/** The values of binary16 numbers. All 65,536 of them are in a table, for this runs once for each feature of a batch. */
export function float16ToFloat32(halves: Uint16Array): Float32Array {
  numbers ??= Float32Array.from({ length: 2 ** 16 }, (_, i) => float16ToNumber(i))
  const out = new Float32Array(halves.length)
  for (let i = 0; i < halves.length; i++) out[i] = numbers[halves[i]!]!
  return out
}
