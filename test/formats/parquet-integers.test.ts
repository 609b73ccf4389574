import { describe, expect, test } from 'vitest'
import { readDeltas, readPrefixed, readRuns } from '../../src/formats/parquet-integers.ts'
import { rawVarint } from './raw-thrift.ts'

const bytes = (...parts: readonly (number | Uint8Array)[]): Uint8Array =>
  Buffer.concat(parts.map((part) => (typeof part === 'number' ? Buffer.of(part) : part)))
const repeat = (count: number): Buffer => rawVarint(2 * count)
const groups = (count: number): Buffer => rawVarint(2 * count + 1)

describe('readRuns', () => {
  test.each<[string, Uint8Array, number, readonly number[]]>([
    ['a value that repeats', bytes(repeat(3), 5), 3, [5, 5, 5]],
    ['values of two bytes', bytes(repeat(2), 0x34, 0x12), 13, [0x1234, 0x1234]],
    ['values of no bits', bytes(repeat(4)), 0, [0, 0, 0, 0]],
    // The example of the format's page on encodings.
    ['a group of 3 bits', bytes(groups(1), 0x88, 0xc6, 0xfa), 3, [0, 1, 2, 3, 4, 5, 6, 7]],
    [
      'a group of 32 bits',
      bytes(groups(1), Buffer.alloc(32, Buffer.of(255, 0, 0, 255))),
      32,
      Array(8).fill(0xff0000ff),
    ],
    [
      'both, after a run of none',
      bytes(repeat(0), 9, repeat(2), 1, groups(1), 0xb2),
      1,
      [1, 1, 0, 1, 0, 0, 1, 1, 0, 1],
    ],
    ['a last group that is not full', bytes(groups(1), 0x88, 0xc6, 0xfa), 3, [0, 1, 2]],
    ['one without the bytes that only fill it', bytes(groups(1), 0x88, 0xc6), 3, [0, 1, 2, 3, 4]],
    ['groups that fill a run of 256, as of DuckDB', bytes(groups(32), Buffer.alloc(32, 0xff)), 1, [1, 1, 1]],
  ])('reads %s', (_, data, width, expected) => {
    expect([...readRuns(data, width, expected.length)]).toEqual(expected)
  })

  test.each<[string, Uint8Array, number, number, string]>([
    ['more than are left', bytes(repeat(9), 5), 3, 8, 'a run of 9 integers stands where 8 are left'],
    ['far more', bytes(rawVarint(2 ** 32 - 2), 5), 3, 8, 'a run of 2147483647 integers stands where 8 are left'],
    ['far more of no bits', bytes(groups(2 ** 27), 5), 0, 8, 'a run of 1073741824 integers stands where 8 are left'],
    ['fewer', bytes(repeat(7), 5), 3, 8, 'a number is cut off'],
    [
      'groups that are cut off',
      bytes(groups(1), 0x88),
      3,
      8,
      'a run of 8 integers stands where 8 are left, or it is cut off',
    ],
    [
      'a value that is cut off',
      bytes(repeat(8)),
      3,
      8,
      'a run of 8 integers stands where 8 are left, or it is cut off',
    ],
    ['integers of 33 bits', bytes(repeat(8), Buffer.alloc(5)), 33, 8, 'a run has integers of 33 bits'],
  ])('refuses %s', (_, data, width, count, message) => {
    expect(() => readRuns(data, width, count)).toThrow(message)
  })
})

describe('readDeltas', () => {
  const head = (count: number, first: number): Uint8Array =>
    bytes(rawVarint(128), rawVarint(4), rawVarint(count), first)
  /** Differences of 1 and, in turn, 0 bits and 2 bits more. */
  const block = (...widths: readonly number[]): Uint8Array =>
    bytes(2, ...widths, ...widths.map((width) => Buffer.alloc(4 * width, 0b11100100)))

  const summed = (differences: readonly number[]): number[] => {
    const sums = [0]
    for (const difference of differences) sums.push(sums.at(-1)! + difference)
    return sums
  }

  test.each<[string, Uint8Array, readonly number[]]>([
    // The examples of the format's page on encodings.
    ['1, 2, 3, 4, 5', bytes(head(5, 2), 2, 0, 0, 0, 0), [1, 2, 3, 4, 5]],
    [
      '7, 5, 3, 1, 2, 3, 4, 5',
      bytes(head(8, 14), 3, 2, 0, 0, 0, 0xc0, 0x3f, 0, 0, 0, 0, 0, 0),
      [7, 5, 3, 1, 2, 3, 4, 5],
    ],
    ['one', head(1, 5), [-3]],
    ['one that wraps around', bytes(head(2, 1), rawVarint(2 ** 32 - 1), 0, 0, 0, 0), [-1, 2 ** 31 - 1]],
    [
      'two blocks',
      bytes(head(150, 0), block(0, 2, 0, 0), block(2, 0, 0, 0)),
      summed(Array.from({ length: 149 }, (_, i) => 1 + ((i >= 32 && i < 64) || i >= 128 ? i % 4 : 0))),
    ],
  ])('reads %s', (_, data, expected) => {
    const into = new Int32Array(expected.length)
    const end = readDeltas(bytes(7, data), 1, expected.length, into)
    expect([...into]).toEqual(expected)
    expect(end).toBe(1 + data.length)
  })

  test.each<[string, Uint8Array, string]>([
    ['another count', head(4, 0), 'it has 4 integers; 5 were expected'],
    ['no miniblocks', bytes(rawVarint(128), 0, 5, 0), 'it has blocks of 128 integers in 0 parts'],
    ['miniblocks that take back', bytes(rawVarint(128), rawVarint(2 ** 32 - 4), 5, 0), 'in 4294967292 parts'],
    ['a block of few', bytes(8, 4, 5, 0), 'it has blocks of 8 integers in 4 parts'],
    ['a block that is cut off', bytes(head(5, 0), 2, 1, 0, 0, 0), 'a block of integers is cut off'],
    ['widths that are cut off', bytes(head(5, 0), 2), 'a block of integers is cut off'],
    ['integers of 33 bits', bytes(head(5, 0), 2, 33, 0, 0, 0, Buffer.alloc(132)), 'a block has integers of 33 bits'],
  ])('refuses %s', (_, data, message) => {
    expect(() => readDeltas(data, 0, 5, new Int32Array(5))).toThrow(message)
  })
})

test('readPrefixed reads what its length says, and refuses a length beyond the end', () => {
  expect(readPrefixed(Buffer.from([9, 2, 0, 0, 0, 5, 6, 7]), 1)).toEqual({ part: Buffer.of(5, 6), end: 7 })
  expect(readPrefixed(Buffer.alloc(4), 0)).toEqual({ part: Buffer.alloc(0), end: 4 })
  expect(() => readPrefixed(Buffer.from([2, 0, 0, 0, 5]), 0)).toThrow('there are 1 bytes fewer than a length says')
  expect(() => readPrefixed(Buffer.from([2, 0, 0]), 0)).toThrow('a length is cut off')
})
