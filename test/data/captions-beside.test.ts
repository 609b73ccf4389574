import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { describe, expect, test } from 'vitest'
import { type ImageSourceOptions, openImageSource } from '../../src/data/image-sources.ts'
import { rawTar } from '../formats/raw-tar.ts'
import { rawZip } from '../formats/raw-zip.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { writeTree } from '../write-tree.ts'

type Files = Readonly<Record<string, string | Uint8Array>>

const KINDS = ['folder', 'zip', 'tar', 'tar.gz'] as const

/** Files as a source of a kind, in the order in which they stand here. */
function place(kind: (typeof KINDS)[number], files: Files): string {
  const folder = temporaryFolder()
  if (kind === 'folder') {
    writeTree(folder, files)
    return folder
  }
  const path = join(folder, `source.${kind}`)
  const members = Object.entries(files).map(([name, data]) => ({ name, data: Buffer.from(data) }))
  const bytes = kind === 'zip' ? rawZip(members) : rawTar(members)
  writeFileSync(path, kind === 'tar.gz' ? gzipSync(bytes) : bytes)
  return path
}

const lines = (...rows: object[]): string => rows.map((row) => `${JSON.stringify(row)}\n`).join('')

interface Case {
  readonly what: string
  readonly files: Files
  readonly options?: ImageSourceOptions
  /** Name, label and captions of each image, in order. */
  readonly images: readonly (readonly [string, number, readonly string[]])[]
  readonly from: string
  readonly ignored?: readonly string[]
  readonly notes?: readonly RegExp[]
  readonly captionNotes?: readonly string[]
}

const TEXTS = 'the .txt files beside the images'
const ONE_CLASS = /has no class folders: every image is of class 0, as with `unlabelled`; captions need no labels\.$/

const CASES: readonly Case[] = [
  {
    what: 'a caption a line, without blank lines, line ends of any system, and a byte order mark',
    files: {
      'a/1.jpg': '',
      'a/1.txt': '\ufeffone dog\r\n\r\n  two dogs \n\t\n',
      'b/2.PNG': '',
      'b/2.txt': 'ein Hühnchen 🐔',
    },
    images: [
      ['a/1.jpg', 0, ['one dog', 'two dogs']],
      ['b/2.PNG', 1, ['ein Hühnchen 🐔']],
    ],
    from: TEXTS,
  },
  {
    what: 'images without class folders, one without a caption, one with an empty file, and texts of no image',
    files: {
      '1.jpg': '',
      '1.txt': 'x',
      '2.jpg': '',
      '3.v2.jpg': '',
      '3.v2.txt': 'version 2',
      '4.jpg': '',
      '4.txt': '\n',
      'README.txt': Uint8Array.of(0xff, 0xfe),
    },
    images: [
      ['1.jpg', 0, ['x']],
      ['2.jpg', 0, []],
      ['3.v2.jpg', 0, ['version 2']],
      ['4.jpg', 0, []],
    ],
    from: TEXTS,
    ignored: ['README.txt'],
    notes: [ONE_CLASS],
  },
  {
    what: 'images in and outside of folders',
    files: { '1.jpg': '', '1.txt': 'x', 'a/2.jpg': '', 'a/2.txt': 'y' },
    images: [
      ['1.jpg', 0, ['x']],
      ['a/2.jpg', 0, ['y']],
    ],
    from: TEXTS,
    notes: [/holds 1 images outside its class folders: every image is of class 0/],
  },
  {
    what: 'a metadata.jsonl at the top and one in a folder',
    files: {
      'metadata.jsonl': lines(
        { file_name: 'a/1.jpg', text: 'one' },
        { file_name: './a/2.jpg', text: ['two', 'deux', null, ' '] },
        { file_name: 'a/1.jpg', text: 'un', score: 3 },
        { file_name: 'gone.jpg', text: 'x' },
      ),
      'a/1.jpg': '',
      'a/2.jpg': '',
      'b/3.jpg': '',
      'b/metadata.jsonl': `\n${lines({ file_name: '3.jpg', captions: ['three'] })}`.trimEnd(),
    },
    images: [
      ['a/1.jpg', 0, ['one', 'un']],
      ['a/2.jpg', 0, ['two', 'deux']],
      ['b/3.jpg', 1, ['three']],
    ],
    from: "'metadata.jsonl' and 'b/metadata.jsonl'",
    captionNotes: ['metadata.jsonl has captions of 1 image that are not among these.'],
  },
  {
    what: 'texts for some and a metadata.jsonl for others',
    files: {
      'a/1.jpg': '',
      'a/1.txt': 'text',
      'a/2.jpg': '',
      'metadata.jsonl': lines({ file_name: 'a/2.jpg', caption: 'row' }, { file_name: 'a/1.jpg', caption: null }),
    },
    images: [
      ['a/1.jpg', 0, ['text']],
      ['a/2.jpg', 0, ['row']],
    ],
    from: `${TEXTS} and 'metadata.jsonl'`,
  },
  {
    what: 'a column that is named: texts do not count then',
    files: {
      'a/1.jpg': '',
      'a/1.txt': '0 0.5 0.5 0.1 0.1',
      'metadata.jsonl': lines({ file_name: 'a/1.jpg', caption: 'short', text: 'x', long: 'a long one' }),
    },
    options: { captionColumn: 'long' },
    images: [['a/1.jpg', 0, ['a long one']]],
    from: "'metadata.jsonl'",
    ignored: ['a/1.txt'],
  },
  {
    what: 'class folders taken as unlabelled',
    files: { 'a/1.jpg': '', 'a/1.txt': 'x', 'b/1.jpg': '', 'b/1.txt': 'y' },
    options: { unlabelled: true },
    images: [
      ['a/1.jpg', 0, ['x']],
      ['b/1.jpg', 0, ['y']],
    ],
    from: TEXTS,
  },
  {
    what: 'a dataset.json that declares that there are no labels',
    files: { '1.jpg': '', '1.txt': 'x', 'dataset.json': '{"labels": null}' },
    images: [['1.jpg', 0, ['x']]],
    from: TEXTS,
    notes: [/dataset\.json' declares that there are no labels: every image is of class 0/],
  },
]

const SAMPLES = 'the .json files beside the images'

const TAR_CASES: readonly Case[] = [
  {
    what: 'samples with .txt and .cls',
    files: { '0.txt': 'x\ny', '0.cls': '7', '0.jpg': '', '0.mask.png': '' },
    images: [['0.jpg', 7, ['x', 'y']]],
    from: TEXTS,
    ignored: ['0.mask.png'],
  },
  {
    what: "samples as img2dataset writes them, the .txt counting before its .json, and a sample's other images left out",
    files: {
      '0.jpg': '',
      '0.mask.png': '',
      '0.txt': 'from the text',
      '0.json': '{"caption":"from the json","url":"x"}',
      '1.json': '{"caption":["a","b"]}',
      '1.jpg': '',
      '2.jpg': '',
      '2.json': '{"caption":null}',
    },
    images: [
      ['0.jpg', 0, ['from the text']],
      ['1.jpg', 0, ['a', 'b']],
      ['2.jpg', 0, []],
    ],
    from: `${TEXTS} and ${SAMPLES}`,
    ignored: ['0.mask.png'],
    notes: [ONE_CLASS],
  },
  {
    what: 'a .json before and after the .txt, which counts unless it is empty, and texts of an image that is left out',
    files: {
      '0.json': '{"caption":7}',
      '0.txt': 'x',
      '0.jpg': '',
      '1.txt': 'y',
      '1.json': '{"caption":7}',
      '1.jpg': '',
      '2.txt': '\n',
      '2.json': '{"caption":"z"}',
      '2.jpg': '',
      '3.mask.txt': 'a mask',
      '3.mask.png': '',
      '3.cls': '1',
      '3.jpg': '',
    },
    images: [
      ['0.jpg', 0, ['x']],
      ['1.jpg', 0, ['y']],
      ['2.jpg', 0, ['z']],
      ['3.jpg', 0, []],
    ],
    from: `${TEXTS} and ${SAMPLES}`,
    ignored: ['3.mask.txt', '3.mask.png'],
    notes: [/has no label for 3 of 4 images: every image is of class 0/],
  },
  {
    what: 'a second image of a sample that has no caption, as little an image as of one that has',
    files: {
      '0.jpg': '',
      '0.txt': 'x',
      '1.jpg': '',
      '1.mask.png': '',
      '1.seg.v2.png': '',
      '2.alone.png': '',
      '2.alone.txt': 'z',
    },
    images: [
      ['0.jpg', 0, ['x']],
      ['1.jpg', 0, []],
      ['2.alone.png', 0, ['z']],
    ],
    from: TEXTS,
    ignored: ['1.mask.png', '1.seg.v2.png'],
    notes: [ONE_CLASS],
  },
  {
    what: 'a field that is named, and labels of the same .json',
    files: { '0.jpg': '', '0.txt': 'x', '0.json': '{"label":3,"caption":"x","long":"a long one"}' },
    options: { captionColumn: 'long' },
    images: [['0.jpg', 3, ['a long one']]],
    ignored: ['0.txt'],
    from: SAMPLES,
  },
  {
    what: 'samples of which not every one has a label',
    files: { '0.jpg': '', '0.txt': 'x', '0.cls': '7', '1.jpg': '', '1.txt': 'y' },
    images: [
      ['0.jpg', 0, ['x']],
      ['1.jpg', 0, ['y']],
    ],
    from: TEXTS,
    notes: [
      /has no label for 1 of 2 images: every image is of class 0, as with `unlabelled`; captions need no labels\.$/,
    ],
  },
  {
    what: 'a .json that is not UTF-8 and of no image, or of one that has a text',
    files: {
      '0.jpg': '',
      '0.json': Buffer.from('{"caption":"ü"}', 'latin1'),
      '0.txt': 'x',
      'about.json': Buffer.from('{"caption":"ü"}', 'latin1'),
    },
    images: [['0.jpg', 0, ['x']]],
    from: TEXTS,
    ignored: ['about.json'],
    notes: [ONE_CLASS],
  },
  {
    what: 'class folders of names with several dots',
    files: { 'cat/i.1.jpg': '', 'cat/i.1.txt': 'x', 'cat/i.2.jpg': '', 'cat/i.2.txt': 'y' },
    images: [
      ['cat/i.1.jpg', 0, ['x']],
      ['cat/i.2.jpg', 0, ['y']],
    ],
    from: TEXTS,
  },
]

async function check(path: string, { options, images, from, ignored = [], notes = [], captionNotes = [] }: Case) {
  const source = await openImageSource(path, { captions: 'beside', ...options })
  try {
    const { captions } = source
    expect(source.images.map(({ name, label }, i) => [name, label, captions!.ofImages[i]])).toEqual(images)
    expect(captions).toMatchObject({ from, notes: captionNotes })
    expect(source.ignored).toEqual(ignored)
    expect(source.notes).toEqual(notes.map((pattern) => expect.stringMatching(pattern)))
  } finally {
    await source.close()
  }
}

describe.each(KINDS)('captions beside the images of a %s', (kind) => {
  test.each(CASES)('$what', async (one) => {
    await check(place(kind, one.files), one)
  })

  test.each<[string, Files, string | RegExp]>([
    [
      'an image that has both a text and a row',
      { 'a/1.jpg': '', 'a/1.txt': 'x', 'metadata.jsonl': lines({ file_name: 'a/1.jpg', text: 'y' }) },
      /'a\/1\.jpg' in '.*' has captions in 'metadata\.jsonl' and in 'a\/1\.txt'; name the column of the one by `captionColumn`, or remove/,
    ],
    [
      'a text that is not UTF-8',
      { 'a/1.jpg': '', 'a/1.txt': Uint8Array.of(0x48, 0xfc, 0x68) },
      'a/1.txt: it holds captions and is not UTF-8; save it as UTF-8.',
    ],
    [
      'a row that is not JSON',
      { 'a/1.jpg': '', 'metadata.jsonl': `${lines({ file_name: 'a/1.jpg', text: 'y' })}\n{` },
      'metadata.jsonl: line 3 is not JSON (',
    ],
    [
      'a row without a file name',
      { 'a/1.jpg': '', 'metadata.jsonl': lines({ text: 'y' }) },
      'metadata.jsonl: line 1 is not {"file_name": "…", "text": "…"}: {"text":"y"}.',
    ],
    [
      'a row whose caption is a number',
      { 'a/1.jpg': '', 'metadata.jsonl': lines({ file_name: 'a/1.jpg', text: 7 }) },
      'metadata.jsonl: line 1 has 7 for a caption; a string or a list of strings was expected.',
    ],
    [
      'rows with several fields that may hold captions',
      { 'a/1.jpg': '', 'metadata.jsonl': lines({ file_name: 'a/1.jpg', text: 'x', caption: 'y' }) },
      'several fields may hold captions: caption, text; there are file_name, text, caption. `captionColumn` names the right one.',
    ],
    [
      'rows with none',
      { 'a/1.jpg': '', 'metadata.jsonl': lines({ file_name: 'a/1.jpg', label: 3 }) },
      'no line has a field of captions, called caption, captions, text, sentences; there are file_name, label. `captionColumn`',
    ],
  ])('%s is refused', async (_, files, message) => {
    await expect(openImageSource(place(kind, files), { captions: 'beside' })).rejects.toThrow(message)
  })
})

describe.each(['tar', 'tar.gz'] as const)('captions of the samples of a %s', (kind) => {
  test.each(TAR_CASES)('$what', async (one) => {
    await check(place(kind, one.files), one)
  })

  test('shards whose samples have the same keys', async () => {
    const folder = temporaryFolder()
    for (const shard of ['0', '1']) {
      const bytes = rawTar([
        { name: '0.jpg', data: '' },
        { name: '0.txt', data: `shard ${shard}` },
      ])
      writeFileSync(join(folder, `${shard}.${kind}`), kind === 'tar.gz' ? gzipSync(bytes) : bytes)
    }
    await check(folder, {
      what: '',
      files: {},
      images: [
        [`0.${kind}/0.jpg`, 0, ['shard 0']],
        [`1.${kind}/0.jpg`, 0, ['shard 1']],
      ],
      from: TEXTS,
      notes: [ONE_CLASS],
    })
  })

  test('an archive whose images begin with its name is one without class folders', async () => {
    const folder = temporaryFolder()
    const bytes = rawTar([
      { name: 'n01_1.jpg', data: '' },
      { name: 'n01_1.txt', data: 'x' },
    ])
    writeFileSync(join(folder, `n01.${kind}`), kind === 'tar.gz' ? gzipSync(bytes) : bytes)
    await check(join(folder, `n01.${kind}`), {
      what: '',
      files: {},
      from: TEXTS,
      notes: [ONE_CLASS],
      images: [['n01_1.jpg', 0, ['x']]],
    })
  })

  test.each<[string, string | Uint8Array, string]>([
    ['a caption that is a number', '{"caption": 7}', '0.json: the field "caption" has 7 for a caption'],
    ['a .json that is none', '{', 'the label file "0.json" is not JSON'],
    [
      'a .json that is not UTF-8',
      Buffer.from('{"caption": "ü"}', 'latin1'),
      '0.json: it holds captions and is not UTF-8; save it as UTF-8.',
    ],
  ])('%s is refused', async (_, json, message) => {
    const path = place(kind, { '0.jpg': '', '0.json': json })
    await expect(openImageSource(path, { captions: 'beside' })).rejects.toThrow(message)
  })
})

test('without captions being asked for, texts are no part of a source', async () => {
  const source = await openImageSource(place('folder', { 'a/1.jpg': '', 'a/1.txt': 'x' }))
  await source.close()
  expect(source).toMatchObject({ captions: undefined, ignored: ['a/1.txt'] })
})
