import { describe, expect, test } from 'vitest'
import { native } from '../../../src/native.ts'
import { memoryStats } from '../../../src/tensor/device.ts'
import { bfloat16ToNumber, float16ToNumber } from '../../../src/tensor/host-tensor.ts'
import { cast } from '../../../src/tensor/ops/cast.ts'
import { linearCombination } from '../../../src/tensor/ops/float64.ts'
import { Tensor } from '../../../src/tensor/tensor.ts'
import { expectClose, fromValues, random } from '../../reference/array.ts'
import { DEVICES } from '../devices.ts'
import { ndArray } from './op-case.ts'

const EVERY_PATTERN = Uint16Array.from({ length: 65_536 }, (_, bits) => bits)
const FORMATS = {
  bf16: { toNumber: bfloat16ToNumber, significand: 8, leastExponent: -126, overflow: 2 ** 128 * (1 - 2 ** -9) },
  f16: { toNumber: float16ToNumber, significand: 11, leastExponent: -14, overflow: 65_520 },
} as const

/** IEEE 754's rounding to nearest, ties to even, in exact arithmetic. */
function rounded(x: number, { significand, leastExponent, overflow }: (typeof FORMATS)['bf16' | 'f16']): number {
  if (x === 0 || !Number.isFinite(x)) return x
  if (Math.abs(x) >= overflow) return Math.sign(x) * Number.POSITIVE_INFINITY
  const exponent = Math.max(Math.floor(Math.log2(Math.abs(x))), leastExponent)
  const quantum = 2 ** (exponent - significand + 1)
  const units = x / quantum
  const below = Math.floor(units)
  const up = units - below > 0.5 || (units - below === 0.5 && below % 2 !== 0)
  return (below + (up ? 1 : 0)) * quantum || (x < 0 ? -0 : 0)
}

/** Magnitudes from below the subnormals to beyond the overflow, and halfway between neighbours. */
function hardFloats(): Float32Array {
  const values: number[] = [0, -0, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 3.4e38, 65_504, 65_519, 65_520]
  const fractions = random([64], 5)
  for (let exponent = -149; exponent < 128; exponent++) {
    const base = 2 ** exponent
    values.push(base, -base)
    for (const bits of [8, 9, 11, 12]) values.push(base * (1 + 2 ** -bits), -base * (1 + 3 * 2 ** -bits))
    values.push(base * (1 + Math.abs(fractions.data[exponent & 63])))
  }
  return Float32Array.from(values)
}

for (const { device, missing } of DEVICES) {
  describe.skipIf(missing)(`cast on ${device}`, () => {
    test.each(['bf16', 'f16'] as const)('every %s is the number it stands for, and comes back', async (dtype) => {
      using bits = new Tensor(native().fromHost(EVERY_PATTERN, [65_536], dtype, device), device)
      using wide = cast(bits, 'f32')
      const values = await wide.data()
      expect(values).toEqual(Float32Array.from(EVERY_PATTERN, FORMATS[dtype].toNumber))
      using back = cast(wide, dtype)
      const patterns = await back.dataAs(dtype)
      patterns.forEach((pattern, i) => {
        if (Number.isNaN(values[i])) expect(FORMATS[dtype].toNumber(pattern)).toBeNaN()
        else if (pattern !== i) expect(pattern, `the pattern of ${values[i]}`).toBe(i)
      })
    })

    test.each([
      ['bf16', 'f16'],
      ['f16', 'bf16'],
    ] as const)('every %s is rounded to %s as its number is, and nothing is left', async (from, to) => {
      using bits = new Tensor(native().fromHost(EVERY_PATTERN, [65_536], from, device), device)
      const before = memoryStats(device).liveBytes
      const other = cast(bits, to)
      const patterns = await other.dataAs(to)
      patterns.forEach((pattern, i) => {
        const value = FORMATS[from].toNumber(i)
        expect(FORMATS[to].toNumber(pattern), `${to} of ${value}`).toBe(rounded(value, FORMATS[to]))
      })
      other.dispose()
      expect(memoryStats(device).liveBytes).toBe(before)
    })

    test.each(['bf16', 'f16'] as const)('f32 to %s rounds to the nearest, ties to even', async (dtype) => {
      const values = hardFloats()
      using x = Tensor.from(values, [values.length], device)
      using narrow = cast(x, dtype)
      const actual = Array.from(await narrow.dataAs(dtype), FORMATS[dtype].toNumber)
      actual.forEach((value, i) => {
        expect(value, `${dtype} of ${values[i]}`).toBe(rounded(values[i], FORMATS[dtype]))
      })
    })

    test.each([
      ['u8', Uint8Array.from({ length: 256 }, (_, i) => i)],
      ['i32', Int32Array.of(0, -1, 1, 2 ** 24 + 1, -(2 ** 31), 2 ** 31 - 1)],
      ['f64', Float64Array.of(0, -0, 1 + 2 ** -24, 1 + 3 * 2 ** -24, 1e300, -1e-300, Number.NaN)],
    ] as const)('%s to f32 is the nearest float32', async (_, values) => {
      using x = Tensor.from(values, [values.length], device)
      using narrow = cast(x, 'f32')
      expect(await narrow.data()).toEqual(Float32Array.from(values))
    })

    test('f32 to f64 is exact', async () => {
      const values = hardFloats()
      using x = Tensor.from(values, [values.length], device)
      using wide = cast(x, 'f64')
      expect(await wide.dataAs('f64')).toEqual(Float64Array.from(values))
    })
  })

  describe.skipIf(missing)(`linearCombination on ${device}`, () => {
    test.each([
      { shape: [1], terms: ['f32'] },
      { shape: [3], terms: ['f64', 'f32'] },
      { shape: [2, 257], terms: ['f32', 'f64', 'f32'] },
      { shape: [33_000], terms: ['f64', 'f64', 'f32', 'f32', 'f64', 'f32'] },
      { shape: [5], terms: ['f64', 'f64', 'f32', 'f32', 'f64', 'f32', 'f64'] },
      { shape: [7], terms: Array.from({ length: 12 }, () => 'f32' as const) },
    ] as const)('$terms.length terms of [$shape]', async ({ shape, terms }) => {
      const values = terms.map((_, k) => random(shape, k + 1))
      const coefficients = terms.map((_, k) => (k % 2 === 0 ? 1 : -1) / (k + 3))
      const tensors = values.map(({ data }, k) =>
        Tensor.from(terms[k] === 'f64' ? data : Float32Array.from(data), shape, device),
      )
      using out = linearCombination(coefficients.map((coefficient, k) => [coefficient, tensors[k]] as const))
      for (const tensor of tensors) tensor.dispose()
      expect(out.dtype).toBe('f64')
      const expected = fromValues(
        shape,
        values[0].data.map((_, i) => coefficients.reduce((sum, c, k) => sum + c * values[k].data[i], 0)),
      )
      // A product and a sum a term, each within half an ulp of float64, of magnitudes that sum to at most 2.
      expectClose('out', await ndArray(out), expected, { atol: terms.length * 2 * 2 ** -53 * 2, rtol: 0 })
    })
  })
}
