import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { captionsFromFile } from '../../src/data/caption-file.ts'
import { openImageSource } from '../../src/data/image-sources.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { writeTree } from '../write-tree.ts'

/** As in captions_train2014.json, with the fields that are not needed. */
const coco = (images: readonly (readonly [number, string])[], captions: readonly (readonly [number, string])[]) =>
  JSON.stringify({
    info: { year: 2014 },
    images: images.map(([id, file_name]) => ({ license: 5, file_name, height: 480, width: 640, id })),
    licenses: [],
    annotations: captions.map(([image_id, caption], id) => ({ image_id, id, caption })),
  })

const lines = (...rows: object[]): string => rows.map((row) => `${JSON.stringify(row)}\n`).join('')

/** Of three names, two captions for the first, and none for the last. */
const FORMS: readonly (readonly [what: string, file: string, text: string])[] = [
  [
    "COCO's annotations",
    'captions_train2014.json',
    coco(
      [
        [9, 'x/1.jpg'],
        [30, './2.jpg'],
        [25, 'y/3.jpg'],
      ],
      [
        [30, 'two\n'],
        [9, 'one'],
        [9, 'eins'],
        [25, ' '],
      ],
    ),
  ],
  [
    'JSON lines',
    'captions.jsonl',
    lines(
      { file_name: 'x/1.jpg', caption: 'one' },
      { file_name: './2.jpg', caption: ['two'] },
      { file_name: 'y/3.jpg' },
      { file_name: 'x/1.jpg', caption: 'eins' },
    ),
  ],
  [
    "a prepared set's captions",
    'captions.json',
    JSON.stringify({
      captions: [
        ['x/1.jpg', ['one', 'eins']],
        ['2.jpg', ['two']],
        ['y/3.jpg', []],
      ],
    }),
  ],
]

function write(name: string, text: string | Uint8Array): string {
  const file = join(temporaryFolder(), name)
  writeFileSync(file, text)
  return file
}

describe.each(FORMS)('captionsFromFile of %s', (_, name, text) => {
  test.each<[string, readonly string[], readonly (readonly string[])[], number]>([
    ['whole paths', ['2.jpg', 'x/1.jpg', 'y/3.jpg'], [['two'], ['one', 'eins'], []], 0],
    ['the last parts of paths', ['1.jpg', 'train/2.jpg', 'deep/y/3.jpg'], [['one', 'eins'], ['two'], []], 0],
    ['a few of the images', ['train/2.jpg', 'other.jpg'], [['two'], []], 2],
    ['whole paths before last parts', ['x/1.jpg', 'z/1.jpg'], [['one', 'eins'], []], 2],
    ['no folder that contradicts the name', ['z/1.jpg', 'x/2.jpg', 'y.jpg'], [[], ['two'], []], 2],
    ['no part of a folder or of a name', ['xx/1.jpg', '12.jpg', 'jpg'], [[], [], []], 3],
  ])('finds images by %s', async (_, names, ofImages, left) => {
    const file = write(name, text)
    const captions = await captionsFromFile(file, names)
    expect(captions).toEqual({
      from: `'${file}'`,
      ofImages,
      notes: left > 0 ? [`'${file}' has captions of ${left} images that are not among these.`] : [],
    })
  })

  test('does not guess between two images that end in one name', async () => {
    await expect(captionsFromFile(write(name, text), ['a/x/1.jpg', 'b/x/1.jpg'])).rejects.toThrow(
      "has captions of 'x/1.jpg', and the images have 'a/x/1.jpg', 'b/x/1.jpg': name in it those that are meant by their whole paths.",
    )
  })
})

describe('captionsFromFile', () => {
  test('does not guess between two names that end in one image', async () => {
    const rows = lines({ file_name: 'a/1.jpg', text: 'x' }, { file_name: 'b/1.jpg', text: 'y' })
    const file = write('c.jsonl', rows)
    await expect(captionsFromFile(file, ['1.jpg'])).rejects.toThrow(
      `'${file}' has captions of 'a/1.jpg', 'b/1.jpg', and the images have '1.jpg'`,
    )
    expect((await captionsFromFile(file, ['b/1.jpg', 'a/1.jpg'])).ofImages).toEqual([['y'], ['x']])
  })

  test('takes the field that is named', async () => {
    const file = write('c.ndjson', lines({ file_name: '1.jpg', text: 'x', caption: 'y', long: ['z'] }))
    expect((await captionsFromFile(file, ['1.jpg'], 'long')).ofImages).toEqual([['z']])
  })

  test("takes a prepared set's captions as any others: blanks are none, and those of one image add up", async () => {
    const json = {
      captions: [
        ['1.jpg', [' x ', '']],
        ['2.jpg', ['  ']],
        ['1.jpg', ['y']],
      ],
    }
    const file = write('c.json', JSON.stringify(json))
    expect((await captionsFromFile(file, ['1.jpg', '2.jpg'])).ofImages).toEqual([['x', 'y'], []])
  })

  test.each<[string, string, string | Uint8Array, string | undefined, string]>([
    ['what is not JSON', 'c.json', 'a dog', undefined, "c.json': it is not JSON ("],
    [
      'what is not UTF-8',
      'c.json',
      Uint8Array.of(0x22, 0xff, 0x22),
      undefined,
      'c.json: it holds captions and is not UTF-8',
    ],
    ['a list', 'c.json', '[]', undefined, 'c.json'],
    [
      'JSON of something else',
      'c.json',
      '{"labels": []}',
      undefined,
      'it has neither "annotations", as COCO\'s captions, nor "captions", as a prepared set\'s; JSON lines are called .jsonl.',
    ],
    [
      "COCO's annotations of something else",
      'instances.json',
      '{"images": [], "annotations": [{"image_id": 3, "bbox": []}]}',
      undefined,
      "instances.json': at annotations.0.caption: ",
    ],
    [
      'an annotation of no image',
      'c.json',
      coco([[1, '1.jpg']], [[2, 'x']]),
      undefined,
      'an annotation is of the image 2, which is not among its images.',
    ],
    [
      'two images of one id',
      'c.json',
      coco(
        [
          [1, '1.jpg'],
          [1, '2.jpg'],
        ],
        [],
      ),
      undefined,
      'the images "1.jpg" and "2.jpg" have the same id, 1.',
    ],
    ['captions of another form', 'c.json', '{"captions": {"1.jpg": "x"}}', undefined, "c.json': at captions: "],
    ['more than captions', 'c.json', '{"captions": [], "model": "x"}', undefined, "c.json': at the top level: "],
    [
      'lines without the named field',
      'c.jsonl',
      lines({ file_name: '1', text: 'x' }),
      'long',
      'no line has a field "long"; there are file_name, text.',
    ],
    ['no lines', 'c.jsonl', '\n', undefined, 'no line has a field of captions'],
    [
      'a column of COCO',
      'c.json',
      coco([], []),
      'long',
      'only JSON lines (.jsonl) and parquet files have a column "long".',
    ],
  ])('refuses %s', async (_, name, text, column, message) => {
    await expect(captionsFromFile(write(name, text), ['1.jpg'], column)).rejects.toThrow(message)
  })

  test('names the file that is not there', async () => {
    await expect(captionsFromFile('/nowhere/c.json', [])).rejects.toThrow(
      'Cannot read /nowhere/c.json: there is no such file or folder; check the path (ENOENT).',
    )
  })
})

test('openImageSource takes a file of captions that lies in the folder of the images', async () => {
  const folder = temporaryFolder()
  writeTree(folder, { '1.jpg': '', 'sub/c.jsonl': lines({ file_name: '1.jpg', text: 'x' }), 'notes.txt': '' })
  const source = await openImageSource(folder, { captions: join(folder, 'sub/c.jsonl') })
  await source.close()
  expect(source.captions?.ofImages).toEqual([['x']])
  expect(source.ignored).toEqual(['notes.txt'])
})
