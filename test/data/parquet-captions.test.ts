import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parquetWriteBuffer } from 'hyparquet-writer'
import { describe, expect, test } from 'vitest'
import { type ImageSourceOptions, openImageSource } from '../../src/data/image-sources.ts'
import { temporaryFolder } from '../temporary-folder.ts'

type Options = Parameters<typeof parquetWriteBuffer>[0]
type Column = Options['columnData'][number]

const BYTES = [Uint8Array.of(1), Uint8Array.of(2), Uint8Array.of(3)]
const IMAGE: Column = { name: 'image', data: BYTES, type: 'BYTE_ARRAY' }
const LABEL: Column = { name: 'label', data: [4, 5, 6], type: 'INT32' }
const texts = (name: string, ...data: (string | null)[]): Column => ({ name, data, type: 'STRING', nullable: true })

/** Lists as Arrow writes them. */
const LISTS: Options = {
  columnData: [
    { name: 'image', data: BYTES },
    { name: 'captions', data: [['a dog', ' a cat '], [], ['', 'a bird']] },
  ],
  schema: [
    { name: 'root', num_children: 2 },
    { name: 'image', type: 'BYTE_ARRAY' },
    { name: 'captions', repetition_type: 'OPTIONAL', num_children: 1, converted_type: 'LIST' },
    { name: 'list', repetition_type: 'REPEATED', num_children: 1 },
    { name: 'element', type: 'BYTE_ARRAY', converted_type: 'UTF8', repetition_type: 'OPTIONAL' },
  ],
}

function place(...files: readonly Options[]): string[] {
  const folder = temporaryFolder()
  return files.map((options, i) => {
    const path = join(folder, `train-${i}.parquet`)
    writeFileSync(path, new Uint8Array(parquetWriteBuffer(options)))
    return path
  })
}

async function opened(path: readonly string[], options: ImageSourceOptions = {}) {
  const source = await openImageSource(path, { captions: 'beside', ...options })
  await source.close()
  const { images, captions, classNames, notes } = source
  return { labels: images.map(({ label }) => label), captions, classNames, notes }
}

describe('captions of parquet files', () => {
  test.each(['caption', 'captions', 'text', 'sentences'])('are in a column of texts called "%s"', async (name) => {
    const file: Options = { columnData: [IMAGE, LABEL, texts(name, ' a dog\n', null, 'ein Hühnchen')] }
    expect(await opened(place(file))).toEqual({
      labels: [4, 5, 6],
      captions: { from: `the column "${name}"`, ofImages: [['a dog'], [], ['ein Hühnchen']], notes: [] },
      classNames: undefined,
      notes: ['Read the images from the column "image" and their labels from "label".'],
    })
  })

  test('are in a column of lists of texts', async () => {
    const { labels, captions, notes } = await opened(place(LISTS))
    expect(captions?.ofImages).toEqual([['a dog', 'a cat'], [], ['a bird']])
    expect(labels).toEqual([0, 0, 0])
    expect(notes).toEqual([
      'Read the images from the column "image".',
      expect.stringMatching(/ has no column of labels: every image is of class 0, as with `unlabelled`; captions/),
    ])
  })

  test('of several columns are in the one that is named', async () => {
    const file: Options = { columnData: [IMAGE, texts('text', 'x', 'x', 'x'), texts('blip', 'a', 'b', 'c')] }
    expect((await opened(place(file), { captionColumn: 'blip' })).captions).toMatchObject({
      from: 'the column "blip"',
      ofImages: [['a'], ['b'], ['c']],
    })
  })

  test('go on from shard to shard', async () => {
    const shard = (...words: string[]): Options => ({ columnData: [IMAGE, texts('text', ...words)] })
    const { captions } = await opened(place(shard('a', 'b', 'c'), shard('d', 'e', 'f')))
    expect(captions?.ofImages.flat()).toEqual(['a', 'b', 'c', 'd', 'e', 'f'])
  })

  test('are as many as a file has rows, more than a call takes arguments', async () => {
    const rows = 200_000
    const image: Column = { name: 'image', data: new Array<Uint8Array>(rows).fill(BYTES[0]!), type: 'BYTE_ARRAY' }
    const text: Column = { name: 'text', data: Array.from({ length: rows }, (_, row) => `row ${row}`), type: 'STRING' }
    const { captions } = await opened(place({ columnData: [image, text] }))
    expect(captions?.ofImages).toHaveLength(rows)
    expect(captions?.ofImages.at(-1)).toEqual([`row ${rows - 1}`])
  })

  test('are not looked at where none are asked for, and labels are then needed', async () => {
    const paths = place({ columnData: [IMAGE, texts('text', 'a', 'b', 'c')] })
    const source = await openImageSource(paths, { unlabelled: true })
    await source.close()
    expect(source.captions).toBeUndefined()
    await expect(openImageSource(paths)).rejects.toThrow('no column holds labels')
  })

  test.each<[string, readonly Options[], ImageSourceOptions, string]>([
    [
      'no column of captions',
      [{ columnData: [IMAGE, LABEL, texts('url', 'x', 'y', 'z')] }],
      {},
      'no column holds captions (text or lists of text, called caption, captions, text, sentences); its columns are image (binary), label (integer), url (text). `captionColumn` names the right one.',
    ],
    [
      'several',
      [{ columnData: [IMAGE, texts('text', 'x', 'y', 'z'), texts('caption', 'x', 'y', 'z')] }],
      {},
      'several columns hold captions (text or lists of text, called caption, captions, text, sentences): caption, text;',
    ],
    [
      'a column that is not there',
      [{ columnData: [IMAGE, texts('text', 'x', 'y', 'z')] }],
      { captionColumn: 'blip' },
      'it has no column "blip"; its columns are image (binary), text (text).',
    ],
    [
      'a column of numbers',
      [{ columnData: [IMAGE, LABEL] }],
      { captionColumn: 'label' },
      'row 0 has 4 for a caption; a string or a list of strings was expected.',
    ],
    [
      'a shard with labels and one without',
      [
        { columnData: [IMAGE, LABEL, texts('text', 'x', 'y', 'z')] },
        { columnData: [IMAGE, texts('text', 'x', 'y', 'z')] },
      ],
      {},
      'one has labels: they are not shards of one set. `unlabelled` leaves them out.',
    ],
    [
      'a file of captions',
      [{ columnData: [IMAGE, LABEL] }],
      { captions: 'captions.json' },
      "have rows and no names for 'captions.json' to name them by; `captions` beside takes the captions of a column.",
    ],
  ])('%s is refused', async (_, files, options, message) => {
    await expect(opened(place(...files), options)).rejects.toThrow(message)
  })
})
