import { crc32, gzipSync } from 'node:zlib'
import { describe, expect, test } from 'vitest'
import { checkData, checkDictionary, type ParquetLeaf } from '../../src/formats/parquet-page-values.ts'
import { type DataPage, type DataPageV2, type DictionaryPage, parquetPages } from '../../src/formats/parquet-pages.ts'
import { type RawStruct, rawThrift, rawVarint } from './raw-thrift.ts'

const BODY = Buffer.from('levels and values')
const SIZE = BODY.length

/** Headers of whole pages with that body, field by field of parquet.thrift. */
const HEADERS: Readonly<Record<'data' | 'dictionary' | 'data V2', RawStruct>> = {
  data: {
    1: 0,
    2: 99,
    3: SIZE,
    4: crc32(BODY) | 0,
    5: { 1: 7, 2: 0, 3: 3, 4: 3, 5: { 1: Buffer.from('max'), 3: 2n } },
  },
  dictionary: { 1: 2, 2: 99, 3: SIZE, 7: { 1: 7, 2: 2 } },
  'data V2': { 1: 3, 2: 99, 3: SIZE, 8: { 1: 7, 2: 2, 3: 5, 4: 8, 5: 3, 6: 1, 7: false } },
}
const bytesOf = (...headers: readonly RawStruct[]): Buffer =>
  Buffer.concat(headers.flatMap((header) => [rawThrift(header), BODY]))
const pagesOf = (bytes: Uint8Array, begin = 0) => [...parquetPages(bytes, begin)]

describe('parquetPages', () => {
  test('reads the headers of all kinds, one page after the other', () => {
    const { data, dictionary, 'data V2': dataV2 } = HEADERS
    const base = { bytes: BODY, size: 99, values: 7 }
    const second = 1000 + rawThrift(dictionary).length + SIZE
    expect(pagesOf(bytesOf(dictionary, data, dataV2), 1000)).toEqual([
      { ...base, kind: 'dictionary', offset: 1000, encoding: 2 },
      { ...base, kind: 'data', offset: second, encoding: 0, definitionEncoding: 3, repetitionEncoding: 3 },
      {
        ...base,
        kind: 'data V2',
        offset: second + rawThrift(data).length + SIZE,
        nulls: 2,
        rows: 5,
        encoding: 8,
        definitionBytes: 3,
        repetitionBytes: 1,
        isPacked: false,
      },
    ])
  })

  const REQUIRED: readonly (readonly [keyof typeof HEADERS, readonly number[], string])[] = [
    ['data', [1], 'type'],
    ['data', [2], 'unpacked size'],
    ['data', [3], 'size'],
    ['data', [5, 1], 'number of values'],
    ['data', [5, 2], 'encoding'],
    ['data', [5, 3], 'encoding of definition levels'],
    ['data', [5, 4], 'encoding of repetition levels'],
    ['dictionary', [7, 1], 'number of values'],
    ['dictionary', [7, 2], 'encoding'],
    ['data V2', [8, 1], 'number of values'],
    ['data V2', [8, 2], 'number of nulls'],
    ['data V2', [8, 3], 'number of rows'],
    ['data V2', [8, 4], 'encoding'],
    ['data V2', [8, 5], 'size of definition levels'],
    ['data V2', [8, 6], 'size of repetition levels'],
  ]
  /** The header with another value in a field, or without it. */
  function changed(header: RawStruct, [field, ...rest]: readonly number[], value: RawStruct[number]): RawStruct {
    const inner = rest.length > 0 ? changed(header[field!] as RawStruct, rest, value) : value
    return { ...header, [field!]: inner }
  }
  test.each(REQUIRED)('refuses a page (%s) without field %s, and one with a wrong %s', (kind, field, what) => {
    const refused = (value: RawStruct[number]) => () => pagesOf(bytesOf(changed(HEADERS[kind], field, value)), 40)
    expect(refused(undefined)).toThrow(new RangeError(`the header of the page at byte 40 of the file has no ${what}`))
    for (const value of [-1, 3n, true, BODY]) {
      expect(refused(value)).toThrow(
        new RangeError(`the header of the page at byte 40 of the file has a wrong ${what}`),
      )
    }
  })

  test.each<[string, Uint8Array, string]>([
    ['another type', bytesOf({ ...HEADERS.data, 1: 1 }), 'the page at byte 0 of the file has the type 1'],
    ['nothing for its type', bytesOf({ ...HEADERS.data, 1: 3 }), 'has nothing of its data'],
    [
      'no truth of its packing',
      bytesOf(changed(HEADERS['data V2'], [8, 7], 1)),
      'a wrong word on whether it is packed',
    ],
    [
      'more bytes than there are',
      bytesOf(HEADERS.data).subarray(0, -1),
      `has ${SIZE} bytes; the column has ${SIZE - 1}`,
    ],
    ['bytes after it', bytesOf({ ...HEADERS.dictionary, 3: SIZE - 1 }), 'the header of the page at byte'],
    [
      'a damaged header',
      Buffer.of(0x1b),
      'the header of the page at byte 0 of the file is damaged: a field has the type',
    ],
    ['another CRC-32', bytesOf({ ...HEADERS.data, 4: 5 }), 'the page at byte 0 of the file does not match its CRC-32'],
  ])('refuses a page with %s', (_, bytes, message) => {
    expect(() => pagesOf(bytes)).toThrow(message)
  })
})

const LEAF: ParquetLeaf = { type: 'BYTE_ARRAY', typeLength: undefined, maxDefinition: 1, maxRepetition: 1 }
const REQUIRED_TEXT: ParquetLeaf = { ...LEAF, maxDefinition: 0, maxRepetition: 0 }
const INT32: ParquetLeaf = { ...REQUIRED_TEXT, type: 'INT32' }

const prefixed = (bytes: Uint8Array): Buffer => {
  const length = Buffer.alloc(4)
  length.writeUInt32LE(bytes.length)
  return Buffer.concat([length, bytes])
}
const run = (count: number, value: number): Buffer => Buffer.concat([rawVarint(2 * count), Buffer.of(value)])
const TEXTS = Buffer.concat(['a', 'bc', ''].map((text) => prefixed(Buffer.from(text))))

/** Two rows of two places, of which one is null. */
const REPETITION = Buffer.concat([run(1, 0), run(1, 1), run(1, 0), run(1, 1)])
const DEFINITION = Buffer.concat([run(3, 1), run(1, 0)])

const v1 = (bytes: Uint8Array, change: Partial<DataPage> = {}): DataPage => ({
  kind: 'data',
  offset: 0,
  bytes,
  size: bytes.length,
  values: 4,
  encoding: 0,
  definitionEncoding: 3,
  repetitionEncoding: 3,
  ...change,
})
const v2 = (data: Uint8Array, change: Partial<DataPageV2> = {}): DataPageV2 => {
  const bytes = Buffer.concat([REPETITION, DEFINITION, data])
  return {
    ...v1(bytes),
    kind: 'data V2',
    nulls: 1,
    rows: 2,
    repetitionBytes: REPETITION.length,
    definitionBytes: DEFINITION.length,
    isPacked: true,
    ...change,
  }
}
const V1 = Buffer.concat([prefixed(REPETITION), prefixed(DEFINITION), TEXTS])
const flat = (data: Uint8Array, values: number, encoding = 0) => v1(data, { values, encoding })
const indices = (width: number, ...runs: readonly Uint8Array[]) => Buffer.concat([Buffer.of(width), ...runs])
/** Differences of no bits, all of them `step`. */
const steps = (count: number, first: number, step: number): Buffer =>
  Buffer.concat([
    rawVarint(128),
    rawVarint(4),
    rawVarint(count),
    Buffer.of(2 * first, step < 0 ? -2 * step - 1 : 2 * step, 0, 0, 0, 0),
  ])

const same = (bytes: Uint8Array): Uint8Array => bytes

describe('checkData', () => {
  test.each<[string, DataPage | DataPageV2, ParquetLeaf, number | undefined, number]>([
    ['levels with their lengths', v1(V1), LEAF, undefined, 2],
    ['levels without', v2(TEXTS), LEAF, undefined, 2],
    ['no levels', flat(TEXTS, 3), REQUIRED_TEXT, undefined, 3],
    ['bytes over, as of fastparquet', flat(Buffer.concat([TEXTS, Buffer.alloc(8)]), 3), REQUIRED_TEXT, undefined, 3],
    ['nulls alone', v1(prefixed(run(4, 0))), { ...LEAF, maxRepetition: 0 }, undefined, 4],
    ['numbers', flat(Buffer.alloc(12), 3), INT32, undefined, 3],
    ['truths', flat(Buffer.alloc(2), 9), { ...INT32, type: 'BOOLEAN' }, undefined, 9],
    ['truths as runs', flat(prefixed(run(9, 1)), 9, 3), { ...INT32, type: 'BOOLEAN' }, undefined, 9],
    [
      'values of five bytes',
      flat(Buffer.alloc(15), 3),
      { ...INT32, type: 'FIXED_LEN_BYTE_ARRAY', typeLength: 5 },
      undefined,
      3,
    ],
    ['places in a dictionary', flat(indices(2, run(3, 2)), 3, 8), INT32, 3, 3],
    ['the first place without runs', flat(indices(0), 3, 2), INT32, 1, 3],
    ['differences', flat(steps(3, 5, 1), 3, 5), INT32, undefined, 3],
    ['lengths, then bytes', flat(Buffer.concat([steps(3, 1, 1), Buffer.alloc(6)]), 3, 6), REQUIRED_TEXT, undefined, 3],
    [
      'beginnings, lengths, then bytes',
      flat(Buffer.concat([steps(3, 0, 1), steps(3, 1, 0), Buffer.alloc(3)]), 3, 7),
      REQUIRED_TEXT,
      undefined,
      3,
    ],
    ['bytes in streams', flat(Buffer.alloc(12), 3, 9), INT32, undefined, 3],
  ])('takes %s', (_, page, leaf, dictionary, rows) => {
    expect(checkData(page, leaf, dictionary, same)).toBe(rows)
  })

  test('unpacks all of a page, of V2 the values alone unless they are not packed', () => {
    const unpack = (bytes: Uint8Array, size: number): Uint8Array => Buffer.alloc(size, bytes)
    const gzip = gzipSync(TEXTS)
    const whole = v1(gzip, { size: 77 })
    const parts = v2(gzip, { size: REPETITION.length + DEFINITION.length + TEXTS.length })
    const asked: (readonly [Uint8Array, number])[] = []
    const spy = (result: Uint8Array) => (bytes: Uint8Array, size: number) => {
      asked.push([bytes, size])
      return result
    }
    checkData({ ...whole, size: V1.length }, LEAF, undefined, spy(V1))
    checkData(parts, LEAF, undefined, spy(TEXTS))
    expect(asked).toEqual([
      [gzip, V1.length],
      [gzip, TEXTS.length],
    ])
    expect(() => checkData(v2(TEXTS, { isPacked: false }), LEAF, undefined, unpack)).not.toThrow()
  })

  test.each<[string, DataPage | DataPageV2, ParquetLeaf, number | undefined, string]>([
    ['fewer bytes than its header says', v1(V1, { size: 9 }), LEAF, undefined, `it has ${V1.length} bytes unpacked`],
    [
      'more levels than values',
      v1(prefixed(run(4, 1)), { values: 3 }),
      { ...LEAF, maxRepetition: 0 },
      undefined,
      'a run of 4',
    ],
    ['fewer', v1(V1, { values: 5 }), LEAF, undefined, 'a number is cut off'],
    [
      'levels of no runs',
      v1(V1, { definitionEncoding: 4 }),
      LEAF,
      undefined,
      'it has the encoding 4, which is not read',
    ],
    [
      'a level above the highest',
      v1(prefixed(run(4, 3))),
      { ...LEAF, maxRepetition: 0, maxDefinition: 2 },
      undefined,
      'it has a level of 3; the highest is 2',
    ],
    [
      'levels beyond it',
      v2(TEXTS, { repetitionBytes: 99 }),
      LEAF,
      undefined,
      'it says that it has 103 bytes of levels',
    ],
    [
      'levels beyond what it unpacks to',
      v2(TEXTS, { size: REPETITION.length + DEFINITION.length - 1 }),
      LEAF,
      undefined,
      'it says that it has 12 bytes of levels',
    ],
    ['other nulls than it says', v2(TEXTS, { nulls: 0 }), LEAF, undefined, 'it says that it has 0 nulls, and has 1'],
    [
      'other rows than it says',
      {
        ...v2(TEXTS),
        values: 3,
        nulls: 0,
        rows: 2,
        repetitionBytes: 0,
        definitionBytes: 0,
        bytes: TEXTS,
        size: TEXTS.length,
      },
      REQUIRED_TEXT,
      undefined,
      'it says that it has 2 rows, and has 3',
    ],
    ['a text beyond it', flat(TEXTS.subarray(0, -5), 3), REQUIRED_TEXT, undefined, 'its bytes end before value 2 of 3'],
    [
      'a text longer than it',
      flat(TEXTS.subarray(0, 6), 2),
      REQUIRED_TEXT,
      undefined,
      'its bytes end before value 1 of 2',
    ],
    [
      'numbers beyond it',
      flat(Buffer.alloc(11), 3),
      INT32,
      undefined,
      'its values take 12 bytes, and it has 11 for them',
    ],
    [
      'a place beyond the dictionary',
      flat(indices(2, run(3, 3)), 3, 8),
      INT32,
      3,
      'it has place 3 of a dictionary of 3',
    ],
    ['places of 33 bits', flat(indices(33, run(3, 3)), 3, 8), INT32, 3, 'a run has integers of 33 bits'],
    [
      'no dictionary',
      flat(indices(2, run(3, 2)), 3, 8),
      INT32,
      undefined,
      'it has places in a dictionary, and there is none',
    ],
    ['a place in an empty one', flat(indices(0), 3, 2), INT32, 0, 'a number is cut off'],
    ['runs of what is no truth', flat(prefixed(run(3, 1)), 3, 3), INT32, undefined, 'it has the encoding 3'],
    ['an encoding that is none', flat(TEXTS, 3, 77), REQUIRED_TEXT, undefined, 'it has the encoding 77'],
    [
      'bytes that end early',
      flat(Buffer.concat([steps(3, 1, 1), Buffer.alloc(5)]), 3, 6),
      REQUIRED_TEXT,
      undefined,
      'its values take',
    ],
    ['a negative length', flat(steps(3, 1, -1), 3, 6), REQUIRED_TEXT, undefined, 'it has a value of a negative length'],
    [
      'a beginning longer than the value before',
      flat(Buffer.concat([steps(3, 0, 9), steps(3, 1, 0), Buffer.alloc(3)]), 3, 7),
      REQUIRED_TEXT,
      undefined,
      'a value begins with 9 bytes of the one before, of 1',
    ],
    [
      'values of no size',
      flat(TEXTS, 3),
      { ...INT32, type: 'FIXED_LEN_BYTE_ARRAY' },
      undefined,
      'it has values of the type',
    ],
  ])('refuses %s', (_, page, leaf, dictionary, message) => {
    expect(() => checkData(page, leaf, dictionary, same)).toThrow(RangeError)
    expect(() => checkData(page, leaf, dictionary, same)).toThrow(message)
  })
})

test('checkDictionary takes plain values alone, all of them', () => {
  const page = (change: Partial<DictionaryPage>): DictionaryPage => ({
    kind: 'dictionary',
    offset: 0,
    bytes: TEXTS,
    size: TEXTS.length,
    values: 3,
    encoding: 0,
    ...change,
  })
  for (const encoding of [0, 2]) expect(() => checkDictionary(page({ encoding }), LEAF, same)).not.toThrow()
  expect(() => checkDictionary(page({ encoding: 8 }), LEAF, same)).toThrow('it has the encoding 8')
  expect(() => checkDictionary(page({ values: 4 }), LEAF, same)).toThrow('its bytes end before value 3 of 4')
})
