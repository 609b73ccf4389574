import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parquetMetadata } from 'hyparquet'
import { parquetWriteBuffer } from 'hyparquet-writer'
import { describe, expect, test } from 'vitest'
import { checkedFile } from '../../src/data/parquet-checked-file.ts'
import { chunksOf } from '../../src/data/parquet-chunks.ts'
import { CODECS } from '../../src/data/parquet-codecs.ts'
import { readFooter } from '../../src/data/parquet-footer.ts'
import { ParquetImages } from '../../src/data/parquet-images.ts'
import { FileFormatError } from '../../src/formats/errors.ts'
import { RandomAccessFile } from '../../src/formats/random-access-file.ts'
import { temporaryFolder } from '../temporary-folder.ts'

type Options = Parameters<typeof parquetWriteBuffer>[0]
type Codec = Options['codec']

const ROWS = 6
const bytesOf = (row: number): Uint8Array => Buffer.from(`image ${row}`.repeat(1 + (row % 3)))

/** Of each way that a column is stored one: values, nulls, places in a dictionary, lists. */
function imageFile(codec: Codec, more: Partial<Options> = {}): Buffer {
  const rows = Array.from({ length: ROWS }, (_, row) => row)
  return Buffer.from(
    parquetWriteBuffer({
      columnData: [
        { name: 'image', data: rows.map((row) => (row === 2 ? { bytes: null } : { bytes: bytesOf(row) })) },
        { name: 'label', data: rows.map((row) => row % 3) },
        { name: 'captions', data: rows.map((row) => Array.from({ length: row % 3 }, () => 'a dog')) },
      ],
      schema: [
        { name: 'root', num_children: 3 },
        { name: 'image', repetition_type: 'OPTIONAL', num_children: 1 },
        { name: 'bytes', type: 'BYTE_ARRAY', repetition_type: 'OPTIONAL' },
        { name: 'label', type: 'INT32', repetition_type: 'REQUIRED' },
        { name: 'captions', repetition_type: 'OPTIONAL', num_children: 1, converted_type: 'LIST' },
        { name: 'list', repetition_type: 'REPEATED', num_children: 1 },
        { name: 'element', type: 'BYTE_ARRAY', converted_type: 'UTF8', repetition_type: 'OPTIONAL' },
      ],
      codec,
      ...more,
    }),
  )
}

/** All that is read of a file, or why it is not. */
async function readAll(path: string, options = { captions: true }): Promise<unknown> {
  try {
    const images = await ParquetImages.open(path, options)
    try {
      const labels = images.columns.label === undefined ? [] : [...(await images.labels())]
      const read: (string | undefined)[] = []
      for (let row = 0; row < images.rows; row++) read.push((await images.image(row))?.toString())
      return { labels, captions: await images.captions(), read }
    } finally {
      await images.close()
    }
  } catch (error) {
    return error
  }
}

describe('a parquet file', () => {
  // Before pages were checked some of these were read for ever, which no timeout ends.
  test.each<[Codec, number]>([
    ['UNCOMPRESSED', 1],
    ['UNCOMPRESSED', 0x80],
    ['SNAPPY', 0xff],
  ])('(%s) is read or refused by its path with any one byte damaged (^ %i)', async (codec, damage) => {
    const path = join(temporaryFolder(), 'a.parquet')
    const file = imageFile(codec)
    const metadataBytes = file.readUInt32LE(file.length - 8)
    writeFileSync(path, file)
    expect(await readAll(path)).toMatchObject({ labels: [0, 1, 2, 0, 1, 2] })
    for (let at = 0; at < file.length; at++) {
      const damaged = Buffer.from(file)
      damaged[at]! ^= damage
      writeFileSync(path, damaged)
      const result = await readAll(path)
      if (result instanceof Error) {
        expect(result, `byte ${at}`).toBeInstanceOf(FileFormatError)
        expect(result.message, `byte ${at}`).toMatch(/^.+a\.parquet: .+\.$/)
        // Words of JavaScript's own, which say nothing of the file.
        expect(result.message, `byte ${at}`).not.toMatch(/undefined|NaN|is not a |Cannot read|Invalid|out of bounds/)
      } else if (at < file.length - metadataBytes - 8) {
        expect(result, `byte ${at}`).toMatchObject({ captions: { length: ROWS }, read: { length: ROWS } })
      }
    }
  })
})

/** Where in a file the pages of a column are. */
function pagesOf(file: Buffer, column: string): number {
  const chunk = parquetMetadata(file).row_groups[0]!.columns.find(
    ({ meta_data }) => meta_data!.path_in_schema[0] === column,
  )
  return Number(chunk!.meta_data!.dictionary_page_offset ?? chunk!.meta_data!.data_page_offset)
}

describe('refuses', () => {
  test.each<[string, (file: Buffer) => void, string]>([
    [
      // The last field of its header in thrift's compact protocol, an i32, with another number: 10, not 6. `hyparquet` then reads on
      // at byte NaN of the page, without end.
      'a page whose header has lost a field',
      (file) => file.writeUInt8(0x55, file.indexOf(Buffer.of(0x15, 0, 0, 0), 4)),
      'the column "image.bytes" cannot be read: the header of the page at byte 4 of the file has no size of repetition levels.',
    ],
    [
      // Thrift's i32 field 1, zigzag.
      'a page of another type',
      (file) => file.writeUInt8(0x60, pagesOf(file, 'label') + 1),
      'the column "label" cannot be read: the page at byte LABEL of the file has the type 48.',
    ],
    [
      'a text that is longer than the page',
      (file) => file.writeUInt8(0xff, file.indexOf('image 0') - 4),
      'the column "image.bytes" cannot be read: the page at byte 4 of the file is damaged: its ',
    ],
    [
      // Thrift's i32 field 5 of a schema's element, after field 4, a name: 1 child.
      'a column with a negative number of columns, over which `hyparquet` loops without end',
      (file) => file.writeUInt8(1, file.lastIndexOf(Buffer.from('captions\x15\x02', 'latin1')) + 9),
      'its footer is damaged: row group 0 has "captions.list.element" where the schema has "captions".',
    ],
    [
      'a schema of another name than the row groups',
      (file) => file.write('M', file.indexOf('label')),
      'its footer is damaged: row group 0 has "label" where the schema has "Mabel".',
    ],
    [
      'a footer that is no thrift',
      (file) => file.fill(0xff, file.length - 60, file.length - 50),
      'it cannot be read as a parquet file (',
    ],
  ])('%s', async (_, damage, message) => {
    const path = join(temporaryFolder(), 'a.parquet')
    const file = imageFile('UNCOMPRESSED')
    const label = String(pagesOf(file, 'label'))
    damage(file)
    writeFileSync(path, file)
    const error = await readAll(path)
    expect(error).toBeInstanceOf(FileFormatError)
    expect(String(error)).toContain(`${path}: ${message.replace('LABEL', label)}`)
  })
})

describe('a column whose pages are read by their index', () => {
  const file = imageFile('UNCOMPRESSED', { pageSize: 20 })

  async function readRows(bytes: Buffer, begin: number, end: number): Promise<unknown> {
    const path = join(temporaryFolder(), 'a.parquet')
    writeFileSync(path, bytes)
    const parquet = await import('hyparquet')
    await using opened = await RandomAccessFile.open(path)
    const footer = await readFooter(parquet, opened)
    const rows = await parquet.parquetReadObjects({
      file: checkedFile(opened, chunksOf(footer, 'image', opened.size)),
      metadata: footer.metadata,
      columns: ['image'],
      rowStart: begin,
      rowEnd: end,
      utf8: false,
      useOffsetIndex: true,
      compressors: CODECS,
    })
    return rows.map(({ image }) => Buffer.from(image.bytes ?? []).toString())
  }

  const expected = (begin: number, end: number) =>
    Array.from({ length: end - begin }, (_, i) => (begin + i === 2 ? '' : Buffer.from(bytesOf(begin + i)).toString()))

  test.each([
    [0, 1],
    [1, 4],
    [3, 6],
  ])('has its rows from %i to %i', async (begin, end) => {
    expect(await readRows(file, begin, end)).toEqual(expected(begin, end))
  })

  test('has those rows or none with any one byte of the index damaged', async () => {
    const { offset_index_offset: begin, offset_index_length: length } = parquetMetadata(file).row_groups[0]!.columns[0]!
    let refused = 0
    for (let at = Number(begin); at < Number(begin) + length!; at++) {
      for (const damage of [1, 2, 0x80, 0xff]) {
        const damaged = Buffer.from(file)
        damaged[at]! ^= damage
        const rows = await readRows(damaged, 3, 5).catch(() => undefined)
        if (rows === undefined) refused++
        else expect(rows, `byte ${at} ^ ${damage}`).toEqual(expected(3, 5))
      }
    }
    expect(refused).toBeGreaterThan(0)
  })
})
