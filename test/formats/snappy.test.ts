import { describe, expect, test } from 'vitest'
import { unpackSnappy } from '../../src/formats/snappy.ts'
import { rawVarint } from './raw-thrift.ts'

const text = (value: string): number[] => [...Buffer.from(value)]
const packed = (size: number, ...elements: readonly number[]): Buffer =>
  Buffer.concat([rawVarint(size), Buffer.from(elements)])

/** A literal with its length in so many bytes after the tag. */
function literal(data: Uint8Array, lengthBytes: number): number[] {
  const length = data.length - 1
  if (lengthBytes === 0) return [length << 2, ...data]
  const bytes = Array.from({ length: lengthBytes }, (_, i) => Math.floor(length / 256 ** i) % 256)
  return [(59 + lengthBytes) << 2, ...bytes, ...data]
}

describe('unpackSnappy', () => {
  test.each<[string, Uint8Array, string]>([
    ['nothing', packed(0), ''],
    ['a literal', packed(3, ...literal(Buffer.from('abc'), 0)), 'abc'],
    ['a literal of 60 bytes', packed(60, ...literal(Buffer.alloc(60, 'xyz'), 0)), 'xyz'.repeat(20)],
    ...[1, 2, 3, 4].map((bytes): [string, Uint8Array, string] => [
      `a literal with its length in ${bytes} bytes`,
      packed(80, ...literal(Buffer.alloc(80, 'abcde'), bytes)),
      'abcde'.repeat(16),
    ]),
    ['a copy of one byte', packed(10, 2 << 2, ...text('abc'), (3 << 2) | 1, 3), 'abcabcabca'],
    ['a copy of two bytes', packed(67, 2 << 2, ...text('abc'), (63 << 2) | 2, 3, 0), 'abc'.repeat(23).slice(0, 67)],
    ['a copy of four bytes', packed(5, 2 << 2, ...text('abc'), (1 << 2) | 3, 2, 0, 0, 0), 'abcbc'],
    [
      'a copy from more than 255 bytes back',
      packed(304, ...literal(Buffer.from(`head${'-'.repeat(296)}`), 2), (0 << 2) | 1 | (1 << 5), 300 - 256),
      `head${'-'.repeat(296)}head`,
    ],
  ])('unpacks %s', (_, bytes, expected) => {
    expect(Buffer.from(unpackSnappy(bytes, expected.length)).toString()).toBe(expected)
  })

  const abc = [2 << 2, ...text('abc')]
  test.each<[string, Uint8Array, number, string]>([
    ['another size', packed(3, ...abc), 4, 'it is packed from 3 bytes; 4 were expected'],
    ['a size that so few bytes cannot have', packed(2 ** 31), 2 ** 31, '5 bytes cannot be packed from 2147483648'],
    ['no size', Buffer.of(0x80), 3, 'a number is cut off'],
    ['too little', packed(4, ...abc), 4, 'it has 3 bytes unpacked; 4 were expected'],
    ['too long a literal', packed(2, ...abc), 2, 'it has more than 2 bytes unpacked'],
    ['too long a copy', packed(5, ...abc, (3 << 2) | 1, 3), 5, 'it has more than 5 bytes unpacked'],
    ['a literal that is cut off', packed(3, 2 << 2, 1), 3, 'it is cut off'],
    // Taken for a signed number this length would lead back before the first byte.
    ['a literal of 2^31 bytes', packed(3, 63 << 2, 0, 0, 0, 0x80, 1), 3, 'it is cut off'],
    ['a copy that is cut off', packed(7, ...abc, (3 << 2) | 2, 3), 7, 'it is cut off'],
    ['a copy from before the first byte', packed(7, ...abc, 1, 4), 7, 'a copy goes 4 bytes back from byte 3'],
    ['a copy of itself', packed(7, ...abc, 1, 0), 7, 'a copy goes 0 bytes back from byte 3'],
  ])('refuses %s', (_, bytes, size, message) => {
    expect(() => unpackSnappy(bytes, size)).toThrow(new RangeError(message))
  })
})
