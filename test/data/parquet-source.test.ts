import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { brotliCompressSync, gzipSync } from 'node:zlib'
import type { SchemaElement } from 'hyparquet'
import { parquetWriteBuffer } from 'hyparquet-writer'
import { describe, expect, test } from 'vitest'
import { ImageDecodeError } from '../../src/data/image-decoding.ts'
import { type ImageSourceOptions, openImageSource } from '../../src/data/image-sources.ts'
import { temporaryFolder } from '../temporary-folder.ts'

type Options = Parameters<typeof parquetWriteBuffer>[0]

const STRUCT: readonly SchemaElement[] = [
  { name: 'image', repetition_type: 'OPTIONAL', num_children: 2 },
  { name: 'bytes', type: 'BYTE_ARRAY', repetition_type: 'OPTIONAL' },
  { name: 'path', type: 'BYTE_ARRAY', converted_type: 'UTF8', repetition_type: 'OPTIONAL' },
]
const INTEGER = (name: string): SchemaElement => ({ name, type: 'INT64', repetition_type: 'OPTIONAL' })

/** What `datasets` writes beside the columns. */
const huggingFace = (features: object) => [{ key: 'huggingface', value: JSON.stringify({ info: { features } }) }]
const LABELLED = huggingFace({
  image: { _type: 'Image' },
  label: { names: ['cat', 'dog', 'eel', 'fox'], _type: 'ClassLabel' },
  boxes: [{ x: { dtype: 'int32', _type: 'Value' } }],
})

const bytesOf = (row: number) => Buffer.from(`image ${row}`.repeat(1 + (row % 3)))

/** A file of `rows` rows as Hugging Face writes them; row 5 has no image. */
function imageFile(rows: number, more: Partial<Options> = {}): Uint8Array {
  const images = Array.from({ length: rows }, (_, row) =>
    row === 5 ? { bytes: null, path: 'gone.png' } : { bytes: bytesOf(row), path: `${row}.png` },
  )
  const labels = Array.from({ length: rows }, (_, row) => BigInt(row % 4))
  return new Uint8Array(
    parquetWriteBuffer({
      columnData: [
        { name: 'image', data: images },
        { name: 'label', data: labels },
      ],
      schema: [{ name: 'root', num_children: 2 }, ...STRUCT, INTEGER('label')],
      kvMetadata: LABELLED,
      ...more,
    }),
  )
}

function place(files: Readonly<Record<string, Uint8Array>>): string {
  const folder = temporaryFolder()
  for (const [name, bytes] of Object.entries(files)) writeFileSync(join(folder, name), bytes)
  return folder
}

const CODECS: readonly (readonly [string, Partial<Options>])[] = [
  ['Snappy', { codec: 'SNAPPY' }],
  ['nothing', { codec: 'UNCOMPRESSED' }],
  ['gzip', { codec: 'GZIP', compressors: { GZIP: (data) => gzipSync(data) } }],
  ['Brotli', { codec: 'BROTLI', compressors: { BROTLI: (data) => brotliCompressSync(data) } }],
  ['row groups of 4', { rowGroupSize: 4 }],
  ['small pages', { pageSize: 64 }],
]

describe('openImageSource of parquet files', () => {
  test.each(CODECS)('packed with %s', async (_, options) => {
    const path = join(place({ 'a.parquet': imageFile(23, options) }), 'a.parquet')
    const source = await openImageSource(path)
    try {
      expect(source.classNames).toEqual(['cat', 'dog', 'eel', 'fox'])
      expect(source.notes).toEqual(['Read the images from the column "image" and their labels from "label".'])
      expect(source.images.map(({ name, label }) => [name, label])).toEqual(
        Array.from({ length: 23 }, (_, row) => [`a.parquet, row ${row}`, row % 4]),
      )
      for (const [row, image] of source.images.entries()) {
        if (row === 5) continue
        const bytes = await source.read(image)
        expect(Buffer.from(bytes).equals(bytesOf(row))).toBe(true)
        expect(bytes.buffer.byteLength).toBe(bytes.length)
      }
      const error = await source.read(source.images[5]!).catch((error: unknown) => error)
      expect(error).toBeInstanceOf(ImageDecodeError)
      expect(error).toMatchObject({ file: 'a.parquet, row 5', reason: 'the column "image" has no bytes there' })
    } finally {
      await source.close()
    }
  })

  test('shards of a folder, binary columns, and no metadata', async () => {
    const shard = (label: number) =>
      new Uint8Array(
        parquetWriteBuffer({
          columnData: [
            { name: 'webp', data: [bytesOf(label), bytesOf(label + 1)], type: 'BYTE_ARRAY' },
            { name: 'cls', data: [label, label], type: 'INT32' },
            { name: 'caption', data: ['a', 'b'], type: 'STRING' },
          ],
        }),
      )
    const folder = place({ 'train-00001-of-00002.parquet': shard(7), 'train-00000-of-00002.parquet': shard(3) })
    const source = await openImageSource(folder)
    expect(source.images.map(({ name, label }) => [name, label])).toEqual([
      ['train-00000-of-00002.parquet, row 0', 3],
      ['train-00000-of-00002.parquet, row 1', 3],
      ['train-00001-of-00002.parquet, row 0', 7],
      ['train-00001-of-00002.parquet, row 1', 7],
    ])
    expect(source.classNames).toBeUndefined()
    expect(Buffer.from(await source.read(source.images[3]!)).equals(bytesOf(8))).toBe(true)
    await source.close()
  })

  const twoLabels = imageFile(2, {
    columnData: [
      { name: 'image', data: [{ bytes: bytesOf(0) }, { bytes: bytesOf(1) }] },
      { name: 'fine', data: [4n, 9n] },
      { name: 'coarse', data: [1n, 2n] },
    ],
    schema: [{ name: 'root', num_children: 3 }, ...STRUCT, INTEGER('fine'), INTEGER('coarse')],
    kvMetadata: huggingFace({ fine: { _type: 'ClassLabel' }, coarse: { _type: 'ClassLabel' } }),
  })

  test('of several label columns one is chosen', async () => {
    const folder = place({ 'a.parquet': twoLabels })
    await expect(openImageSource(folder)).rejects.toThrow(
      'several columns hold labels (integers, called label): fine, coarse; its columns are image (struct with bytes), fine (integer), coarse (integer).',
    )
    const source = await openImageSource(folder, { labelColumn: 'coarse' })
    expect(source.images.map(({ label }) => label)).toEqual([1, 2])
    await source.close()
  })

  const text = new Uint8Array(parquetWriteBuffer({ columnData: [{ name: 'url', data: ['a'], type: 'STRING' }] }))
  const unlabelled = new Uint8Array(
    parquetWriteBuffer({ columnData: [{ name: 'jpg', data: [bytesOf(0)], type: 'BYTE_ARRAY' }] }),
  )
  const labels = (...values: readonly bigint[]): Partial<Options> => ({
    columnData: [
      { name: 'image', data: values.map((_, row) => ({ bytes: bytesOf(row), path: null })) },
      { name: 'label', data: [...values] },
    ],
  })
  /** Of 23 rows in one row group, whose footer declares another number: as thrift has it, i64 field 3 before the list of field 4. */
  const rowsDeclared = (rows: number): Uint8Array => {
    const file = Buffer.from(imageFile(23))
    file[file.lastIndexOf(Buffer.of(0x16, 2 * 23, 0x19)) + 1] = 2 * rows
    return file
  }
  test.each<[string, Uint8Array, ImageSourceOptions, string]>([
    ['more rows than its row groups have', rowsDeclared(40), {}, 'it declares 40 rows, but its row groups have 23.'],
    ['fewer rows than its row groups have', rowsDeclared(5), {}, 'it declares 5 rows, but its row groups have 23.'],
    [
      'labels that are no whole numbers',
      new Uint8Array(
        parquetWriteBuffer({
          columnData: [
            { name: 'jpg', data: [bytesOf(0), bytesOf(1)], type: 'BYTE_ARRAY' },
            { name: 'score', data: [1, 0.5], type: 'DOUBLE' },
          ],
        }),
      ),
      { labelColumn: 'score' },
      'row 1 has the label 0.5 in the column "score"; the number of a class, from 0, was expected.',
    ],
    [
      'no column of images',
      text,
      {},
      'no column holds images (encoded files, as binary data or as a struct of bytes and path); its columns are url (text). `imageColumn` names the right one.',
    ],
    [
      'no column of labels',
      unlabelled,
      {},
      'no column holds labels (integers, called label); its columns are jpg (binary). `unlabelled` takes all images as class 0, or `labelColumn` names',
    ],
    [
      'a column that is not there',
      unlabelled,
      { imageColumn: 'png' },
      'it has no column "png"; its columns are jpg (binary)',
    ],
    [
      'a label of -1',
      imageFile(2, labels(0n, -1n)),
      {},
      'row 1 has the label -1 in the column "label"; the number of a class',
    ],
    [
      'a label without a name',
      imageFile(2, labels(0n, 4n)),
      {},
      'a.parquet, row 1 has the label 4; there are 4 classes',
    ],
    ['a file cut off', imageFile(20).subarray(0, 300), {}, 'it cannot be read as a parquet file'],
    ['no parquet file', Buffer.from('hello'), {}, 'it cannot be read as a parquet file'],
  ])('refuses %s', async (_, bytes, options, message) => {
    await expect(openImageSource(place({ 'a.parquet': bytes }), options)).rejects.toThrow(message)
  })

  test('unlabelled rows are of class 0', async () => {
    const source = await openImageSource(place({ 'a.parquet': unlabelled }), { unlabelled: true })
    expect(source.images.map(({ label }) => label)).toEqual([0])
    await source.close()
  })
})
