import { describe, expect, test } from 'vitest'
import type { DType } from '../../src/tensor/dtype.ts'
import type { HostTensor } from '../../src/tensor/host-tensor.ts'
import { compareTensors } from '../../src/verification/comparison.ts'

const tensor = (dtype: DType, data: NodeJS.TypedArray, shape = [data.length]): HostTensor => ({
  dtype,
  shape,
  data: new Uint8Array(data.buffer, data.byteOffset, data.byteLength),
})
const f32 = (...values: number[]) => tensor('f32', Float32Array.from(values))
const f64 = (...values: number[]) => tensor('f64', Float64Array.from(values))
const i32 = (...values: number[]) => tensor('i32', Int32Array.from(values))
const i64 = (...values: bigint[]) => tensor('i64', BigInt64Array.from(values))
const u8 = (...values: number[]) => tensor('u8', Uint8Array.from(values))
/** Upper halves of float32 bits. */
const bf16 = (...bits: number[]) => tensor('bf16', Uint16Array.from(bits))
const { NaN: nan, POSITIVE_INFINITY: infinity } = Number

const compare = (a: HostTensor, b: HostTensor, atol: number, rtol = 0, rules = {}) =>
  compareTensors({ name: 'x', role: 'output' }, a, b, { atol, rtol }, rules)

describe('compareTensors', () => {
  test.each<[string, HostTensor, HostTensor, number, number, boolean, number]>([
    ['equal', f32(1, 2), f32(1, 2), 0, 0, true, 0],
    ['within atol', f64(1.5), f64(1), 1, 0, true, 0.5],
    ['outside atol', f64(3), f64(1), 1, 0, false, 2],
    ['rtol is of the stored value', f64(110), f64(100), 0, 0.2, true, 0.5],
    ['the worst by ratio, not by error', f64(110, 0.5), f64(100, 0), 0.25, 0.2, false, 2],
    ['no tolerance at all', f64(1 + 1e-15), f64(1), 0, 0, false, infinity],
    ['NaN against a number', f32(nan), f32(1), 1e9, 0, false, infinity],
    ['a number against NaN', f32(1), f32(nan), 1e9, 0, false, infinity],
    ['NaN against NaN', f32(nan), f32(nan), 1e9, 0, false, infinity],
    ['NaN after a large error', f32(5, nan), f32(0, 1), 10, 0, false, infinity],
    ['equal infinities', f32(infinity), f32(infinity), 0, 0, true, 0],
    ['opposite infinities', f32(-infinity), f32(infinity), 1, 1, false, infinity],
    ['a number against infinity', f32(1), f32(infinity), 1, 1, false, infinity],
    ['f64 against f32', f64(0.25), f32(0.25), 0, 0, true, 0],
    ['bf16 against f32', bf16(0x3f80), f32(1), 0, 0, true, 0],
    ['bytes', u8(255, 0), u8(254, 0), 1, 0, true, 1],
    ['int32 against int64', i32(-7), i64(-7n), 0, 0, true, 0],
    ['int64 beyond 2^53', i64(2n ** 60n + 1n), i64(2n ** 60n), 0, 0, false, infinity],
    ['nothing', f32(), f32(), 0, 0, true, 0],
  ])('%s', (_, a, b, atol, rtol, passed, ratio) => {
    expect(compare(a, b, atol, rtol)).toMatchObject({ passed, ratio })
  })

  test.each<[string, HostTensor, HostTensor]>([
    ['a NaN', f32(1, nan), f32(1, 2)],
    ['an infinity', f32(1, infinity), f32(1, 2)],
  ])('%s is told by its place, whatever it does to the mean', (_, a, b) => {
    for (const rules of [{}, { meanBelow: 1 }]) {
      const compared = compare(a, b, 1e9, 0, rules)
      expect(compared).toMatchObject({ passed: false, worstIndex: [1], expected: 2 })
      expect(compared.problem).toBeUndefined()
    }
  })

  test.each([
    ['shape', f32(1, 2), tensor('f32', Float32Array.of(1, 2), [2, 1]), 'its shape is [2], expected [2,1]'],
    ['rank', f32(1), tensor('f32', Float32Array.of(1), []), 'its shape is [1], expected []'],
    ['sort', i32(1), f32(1), 'its dtype is i32, expected f32'],
    ['boolean', u8(1), tensor('bool', Uint8Array.of(1)), 'its dtype is u8, expected bool'],
  ])('another %s is a problem, whatever the values', (_, a, b, problem) => {
    expect(compare(a, b, infinity)).toMatchObject({ passed: false, ratio: infinity, problem })
  })

  test('the same dtype where it is asked for', () => {
    expect(compare(f64(1), f32(1), 0, 0, { sameDtype: true })).toMatchObject({ passed: false })
  })

  test('without a tolerance integers must be equal, and floats are an error', () => {
    const without = (a: HostTensor, b: HostTensor) => compareTensors({ name: 'x', role: 'output' }, a, b, undefined)
    expect(without(u8(1), u8(1)).passed).toBe(true)
    expect(without(u8(1), u8(2)).passed).toBe(false)
    expect(without(f32(1), f32(1))).toMatchObject({ passed: false, problem: expect.stringContaining('no tolerance') })
  })

  test('says where and how much', () => {
    const a = tensor('f32', Float32Array.of(0, 0, 0, 0, 3, 0), [2, 3])
    const b = tensor('f32', Float32Array.of(0, 0, 0, 0, 1, 0), [2, 3])
    const found = compare(a, b, 0.5, 0.5)
    expect(found).toMatchObject({ error: 2, tolerance: 1, ratio: 2, worstIndex: [1, 1], actual: 3, expected: 1 })
    expect(found.meanError).toBeCloseTo(2 / 6)
  })

  test('an allowance widens one element only', () => {
    const allowance = Float64Array.of(1, 0)
    expect(compare(f32(1, 0), f32(0, 0), 0.5, 0, { allowance }).passed).toBe(true)
    expect(compare(f32(0, 1), f32(0, 0), 0.5, 0, { allowance }).passed).toBe(false)
  })
})
