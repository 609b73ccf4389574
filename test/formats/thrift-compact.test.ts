import { describe, expect, test } from 'vitest'
import { readThriftStruct, type ThriftStruct, type ThriftValue } from '../../src/formats/thrift-compact.ts'
import { type RawStruct, rawThrift } from './raw-thrift.ts'

/** Structs as objects, to compare. */
function plain(value: ThriftValue | ThriftStruct): unknown {
  if (value instanceof Map) return Object.fromEntries([...value].map(([field, item]) => [field, plain(item)]))
  if (Array.isArray(value)) return value.map(plain)
  return value instanceof Uint8Array ? Buffer.from(value) : value
}

describe('readThriftStruct', () => {
  test.each<[string, RawStruct]>([
    ['nothing', {}],
    ['integers', { 1: 0, 2: -1, 3: 2 ** 31 - 1, 4: -(2 ** 31), 18: 2n ** 63n - 1n, 19: -(2n ** 63n) }],
    ['truths and bytes', { 1: true, 2: false, 3: Buffer.from('abc'), 4: Buffer.alloc(300, 7) }],
    ['structs and lists', { 5: { 1: 3, 2: { 1: true } }, 6: [1, 2, 3], 7: [{ 1: 1n }, {}], 8: [true, false] }],
    ['a list of many', { 1: Array.from({ length: 40 }, (_, i) => i) }],
  ])('reads %s', (_, struct) => {
    const bytes = Buffer.concat([Buffer.of(9), rawThrift(struct), Buffer.of(9)])
    const { struct: read, end } = readThriftStruct(bytes, 1)
    expect(plain(read)).toEqual(struct)
    expect(end).toBe(bytes.length - 1)
  })

  test('reads a field whose number is far from the one before', () => {
    // As the protocol has it: no difference in the head, but the number, zigzag, after it.
    expect(plain(readThriftStruct(Buffer.of(0x05, 0x90, 0x03, 0x02, 0), 0).struct)).toEqual({ 200: 1 })
  })

  test('reads an i8, an i16 and a double', () => {
    const bytes = Buffer.of(0x13, 0xff, 0x14, 0x03, 0x17, 0, 0, 0, 0, 0, 0, 0xf8, 0x3f, 0)
    expect(plain(readThriftStruct(bytes, 0).struct)).toEqual({ 1: -1, 2: -2, 3: 1.5 })
  })

  test.each<[string, readonly number[], string]>([
    ['no end', [0x15, 0x02], 'it ends in the middle of a field'],
    ['a number without its last byte', [0x15, 0x80], 'it ends in the middle of a field'],
    ['an i32 of more than 32 bits', [0x15, 0x80, 0x80, 0x80, 0x80, 0x10, 0], 'a number has more than 32 bits'],
    ['a number that goes on', [0x15, ...Array<number>(6).fill(0x80), 0], 'a number has more than 32 bits'],
    ['bytes beyond the end', [0x18, 9, 1, 0], 'it ends in the middle of a field'],
    ['a list beyond the end', [0x19, 0xf5, 0xff, 0xff, 0xff, 0xff, 0x0f, 1], 'it ends in the middle of a field'],
    ['a map', [0x1b, 0, 0], 'a field has the type 11'],
    ['structs without end', Array<number>(20).fill(0x1c), 'it has structs and lists within each other, more than 16'],
    [
      'lists without end',
      Array<number>(200_000).fill(0x19),
      'it has structs and lists within each other, more than 16',
    ],
  ])('refuses %s', (_, bytes, message) => {
    expect(() => readThriftStruct(Uint8Array.from(bytes), 0)).toThrow(new RangeError(message))
  })
})
