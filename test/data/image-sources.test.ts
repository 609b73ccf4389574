import { randomBytes } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { ImageDecodeError } from '../../src/data/image-decoding.ts'
import { byCodePoint } from '../../src/data/image-labels.ts'
import { type ImageSourceOptions, openImageSource } from '../../src/data/image-sources.ts'
import { type RawEntry, rawZip } from '../formats/raw-zip.ts'
import { haveImages, imagesFolder, imagesSuffix } from '../shared-folder.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { writeTree } from '../write-tree.ts'

interface Layout {
  readonly what: string
  readonly files: readonly string[]
  readonly json?: Readonly<Record<string, unknown>>
  readonly options?: ImageSourceOptions
  /** Name and label of each image, in order. */
  readonly images: readonly (readonly [string, number])[]
  readonly classNames?: readonly string[]
  readonly ignored?: readonly string[]
  readonly notes?: readonly string[]
}

const LAYOUTS: Layout[] = [
  {
    what: 'class folders, deep ones too, with files that are no images',
    files: ['b/2.png', 'b/deep/1.JPG', 'a/9.jpeg', 'c/x.webp', 'c/x.bmp', 'c/y.jfif', 'a/n.gif', 'README.md'],
    images: [
      ['a/9.jpeg', 0],
      ['b/2.png', 1],
      ['b/deep/1.JPG', 1],
      ['c/x.bmp', 2],
      ['c/x.webp', 2],
      ['c/y.jfif', 2],
    ],
    classNames: ['a', 'b', 'c'],
    ignored: ['README.md', 'a/n.gif'],
  },
  {
    what: 'images sorted by full path, classes by name',
    files: ['a/1.png', 'a-b/1.png', 'a.c/1.png'],
    images: [
      ['a-b/1.png', 1],
      ['a.c/1.png', 2],
      ['a/1.png', 0],
    ],
    classNames: ['a', 'a-b', 'a.c'],
  },
  {
    what: 'one class folder',
    files: ['cats/1.png', 'cats/2.png'],
    images: [
      ['cats/1.png', 0],
      ['cats/2.png', 0],
    ],
    classNames: ['cats'],
  },
  {
    what: 'a single top folder that holds the class folders',
    files: ['set/train/b/1.png', 'set/train/a/1.png', 'set/LICENSE'],
    images: [
      ['set/train/a/1.png', 0],
      ['set/train/b/1.png', 1],
    ],
    classNames: ['a', 'b'],
    ignored: ['set/LICENSE'],
    notes: ["Took the classes from inside 'set/train', the only folder at the top."],
  },
  {
    what: 'hidden files and resource forks left out',
    files: ['a/1.png', 'b/1.png', 'b/._1.png', '.cache/2.png', '__MACOSX/a/._1.png'],
    images: [
      ['a/1.png', 0],
      ['b/1.png', 1],
    ],
    classNames: ['a', 'b'],
    ignored: ['.cache/2.png', '__MACOSX/a/._1.png', 'b/._1.png'],
  },
  {
    what: 'labels from dataset.json',
    files: ['00000/img00000000.png', '00000/img00000001.png'],
    json: {
      'dataset.json': {
        labels: [
          ['00000/img00000001.png', 7],
          ['00000/img00000000.png', 3],
        ],
      },
    },
    images: [
      ['00000/img00000000.png', 3],
      ['00000/img00000001.png', 7],
    ],
  },
  {
    what: 'a prepared set',
    files: ['images/00000/img00000000.png', 'vae-sd/00000/img-mean-std-00000000.npy'],
    json: { 'images/dataset.json': { labels: [['00000/img00000000.png', 5]] } },
    images: [['images/00000/img00000000.png', 5]],
    ignored: ['vae-sd/00000/img-mean-std-00000000.npy'],
    notes: ["Took the classes from inside 'images', the only folder at the top."],
  },
  {
    what: 'empty classes left out where that is allowed',
    files: ['a/1.png', 'b/', 'c/text.txt', 'd/1.png'],
    options: { allowEmptyClasses: true },
    images: [
      ['a/1.png', 0],
      ['d/1.png', 1],
    ],
    classNames: ['a', 'd'],
    ignored: ['c/text.txt'],
    notes: ["Left out 2 class folders without images: 'b', 'c'."],
  },
  {
    what: 'an unlabelled folder',
    files: ['2.png', '1.png'],
    options: { unlabelled: true },
    images: [
      ['1.png', 0],
      ['2.png', 0],
    ],
  },
  {
    what: 'class folders taken as unlabelled',
    files: ['a/1.png', 'b/1.png'],
    options: { unlabelled: true },
    images: [
      ['a/1.png', 0],
      ['b/1.png', 0],
    ],
  },
]

/** Every file holds its own name. */
function contents(files: readonly string[], json: Readonly<Record<string, unknown>> = {}): Record<string, string> {
  return {
    ...Object.fromEntries(files.map((name) => [name, name])),
    ...Object.fromEntries(Object.entries(json).map(([name, value]) => [name, JSON.stringify(value)])),
  }
}

function place(kind: string, files: Readonly<Record<string, string>>): string {
  const folder = temporaryFolder()
  if (kind === 'folder') {
    writeTree(folder, files)
    return folder
  }
  const path = join(folder, 'source.zip')
  const entries = Object.entries(files).map(([name, text], i) => ({
    name,
    data: Buffer.from(text),
    method: i % 2 === 1 ? 8 : 0,
  }))
  writeFileSync(path, rawZip(entries))
  return path
}

describe.each(['folder', 'zip'])('openImageSource of a %s', (kind) => {
  test.each(LAYOUTS)('$what', async ({ files, json, options, images, classNames, ignored = [], notes = [] }) => {
    const source = await openImageSource(place(kind, contents(files, json)), options)
    try {
      expect(source.images.map(({ name, label }) => [name, label])).toEqual(images)
      expect(source.classNames).toEqual(classNames)
      expect(source.ignored).toEqual(ignored)
      expect(source.notes).toEqual(notes)
      for (const image of source.images) expect(Buffer.from(await source.read(image)).toString()).toBe(image.name)
    } finally {
      await source.close()
    }
  })

  test.each<[string, Record<string, string>, string]>([
    ['nothing', { 'readme.txt': '' }, 'holds no images (.jpg .jpeg .jpe .jfif .png .apng .bmp .webp)'],
    ['loose images', contents(['1.png', '2.png']), 'has no class folders. Put the images into one folder per class'],
    [
      'loose images beside classes',
      contents(['a/1.png', 'b/1.png', 'x.png']),
      "1 images outside its class folders: 'x.png'",
    ],
    [
      'the parts of a set',
      contents(['train/cat/1.png', 'train/dog/1.png', 'val/cat/1.png']),
      "holds the folders 'train', 'val', which are parts of a set and no classes. Name the folder of one",
    ],
    ['empty classes', contents(['a/1.png', 'b/', 'c/']), 'Class folders without images in'],
    ['no labels', contents(['1.png'], { 'dataset.json': { labels: null } }), 'declares that there are no labels'],
    [
      'a label too few',
      contents(['1.png', '2.png'], { 'dataset.json': { labels: [['1.png', 0]] } }),
      "no label for 1 images: '2.png'",
    ],
    [
      'an image too few',
      contents(['1.png'], {
        'dataset.json': {
          labels: [
            ['1.png', 0],
            ['2.png', 0],
          ],
        },
      }),
      "names 1 images that are not there: '2.png'",
    ],
    [
      'two labels for one image',
      contents(['1.png'], {
        'dataset.json': {
          labels: [
            ['1.png', 0],
            ['1.png', 2],
          ],
        },
      }),
      "gives '1.png' the label 2 and '1.png', which is the same image, the label 0.",
    ],
    ['a broken dataset.json', { '1.png': '', 'dataset.json': '{' }, 'it is not JSON'],
    [
      'a label that is no class',
      contents(['1.png'], { 'dataset.json': { labels: [['1.png', -1]] } }),
      'at labels.0.1:',
    ],
  ])('refuses %s', async (_, files, message) => {
    await expect(openImageSource(place(kind, files))).rejects.toThrow(message)
  })
})

describe('openImageSource', () => {
  test('names the source that is not there', async () => {
    await expect(openImageSource('/nowhere/at-all')).rejects.toThrow(
      "There is no image source '/nowhere/at-all'; check the path.",
    )
  })

  test.each([
    ['7z', 'a.7z', Buffer.from('x'), 'is an archive that cannot be read in place; unpack it'],
    [
      'one picture',
      'cat.png',
      Buffer.from('x'),
      "cat.png' is no archive of images; expected a folder, or a file in .zip",
    ],
    ['no tar', 'a.tar.gz', Buffer.alloc(512, 'x'), 'a.tar.gz: this is no tar archive.'],
    [
      'no zip',
      'a.zip',
      Buffer.from('not a zip archive, but long enough for one'),
      'a.zip: the zip archive has no end record',
    ],
    [
      'truncated',
      'a.zip',
      rawZip([{ name: 'a/1.png', data: Buffer.alloc(99) }]).subarray(0, -5),
      'a.zip: the zip archive has no end record',
    ],
    [
      'leading out',
      'a.zip',
      rawZip([{ name: 'a/../../x.png', data: Buffer.alloc(1) }]),
      'entry "a/../../x.png" leads out of its folder by ".."; it is not safe to unpack. Pack the archive again with',
    ],
    [
      'absolute',
      'a.zip',
      rawZip([{ name: '/etc/x.png', data: Buffer.alloc(1) }]),
      'entry "/etc/x.png" is an absolute path; it is not safe to unpack.',
    ],
    [
      'with a backslash',
      'a.zip',
      rawZip([{ name: 'a\\x.png', data: Buffer.alloc(1) }]),
      'entry "a\\\\x.png" has a backslash; it is not safe to unpack.',
    ],
    [
      'with a name twice',
      'a.zip',
      rawZip([
        { name: 'a/x.png', data: Buffer.alloc(1) },
        { name: 'a/x.png', data: Buffer.alloc(2) },
      ]),
      'the zip archive has two entries named "a/x.png"',
    ],
    [
      'with an encrypted entry',
      'a.zip',
      rawZip([{ name: 'a/x.png', flags: 1 }]),
      'entry "a/x.png" is encrypted; unpack the archive with its password first.',
    ],
  ])('refuses an archive: %s', async (_, name, bytes, message) => {
    const path = join(temporaryFolder(), name)
    writeFileSync(path, bytes)
    await expect(openImageSource(path)).rejects.toThrow(message)
  })

  test.each([
    ['of another name, told by its first bytes', 'images', ['a/1.png', 'b/1.png']],
    ['of names that begin with ./, as bsdtar packs a folder', 'a.zip', ['./', './a/', './a/1.png', './b/1.png']],
  ])('a zip %s', async (_, file, names) => {
    const path = join(temporaryFolder(), file)
    writeFileSync(path, rawZip(names.map((name) => ({ name, data: Buffer.from(name.endsWith('/') ? '' : name) }))))
    const source = await openImageSource(path)
    expect(source.images).toEqual([
      { name: 'a/1.png', label: 0 },
      { name: 'b/1.png', label: 1 },
    ])
    expect(Buffer.from(await source.read(source.images[1]!)).toString()).toBe(names.at(-1))
    await source.close()
  })

  test.each<[string, RawEntry, string]>([
    ['a wrong checksum', { sum: 1 }, 'does not match its CRC-32: the archive is damaged'],
    ['torn compressed data', { method: 8, compressedSize: 3 }, 'cannot be unpacked (unexpected end of file)'],
    [
      'absurdly many bytes',
      { size: 2 ** 30 + 1, compressedSize: 2 ** 21, method: 8 },
      'unpacks to 1073741825 bytes; at most 1073741824 are accepted here',
    ],
  ])('an entry with %s is a damaged image, and the others can be read', async (_, fault, problem) => {
    const path = join(temporaryFolder(), 'a.zip')
    const data = fault.size === undefined ? Buffer.from('data') : randomBytes(2 ** 21)
    writeFileSync(path, rawZip([{ name: 'a/1.png', data, ...fault }, { name: 'a/2.png' }]))
    const source = await openImageSource(path)
    try {
      const error = await source.read(source.images[0]!).catch((error: unknown) => error)
      expect(error).toBeInstanceOf(ImageDecodeError)
      expect(error).toMatchObject({ file: 'a/1.png', reason: `entry "a/1.png" ${problem}` })
      expect(Buffer.from(await source.read(source.images[1]!)).toString()).toBe('data')
    } finally {
      await source.close()
    }
  })

  test.skipIf(!haveImages)(
    `a folder of several archives: the error lists them and names one${imagesSuffix}`,
    async () => {
      const folder = join(imagesFolder, 'cifar10')
      await expect(openImageSource(folder)).rejects.toThrow(
        `'${folder}' holds no images but 4 archives: 'test1k-jpg.zip', 'train2200-png-lossless.zip', ` +
          `'train45k-rest-jpg.tar.gz', 'train5k-jpg.zip'. Name the one to prepare, for example '${join(folder, 'test1k-jpg.zip')}'.`,
      )
    },
  )

  test.skipIf(!haveImages)(`a folder of one zip stands for it${imagesSuffix}`, async () => {
    const source = await openImageSource(join(imagesFolder, 'tinyimagenet64'))
    await source.close()
    expect(source.images).toHaveLength(800)
    expect(source.classNames).toHaveLength(20)
    expect(source.notes[0]).toContain("Read the archive 'train20x40.zip', the only one in")
  })
})

test('byCodePoint orders as Python does, beyond U+FFFF too', () => {
  const names = ['\u{1f600}', '\uff5e', 'b', 'ab', 'a', 'é']
  expect(names.sort(byCodePoint)).toEqual(['a', 'ab', 'b', 'é', '\uff5e', '\u{1f600}'])
})
