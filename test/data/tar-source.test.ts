import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { describe, expect, test } from 'vitest'
import type { LabelOptions } from '../../src/data/image-labels.ts'
import { openImageSource } from '../../src/data/image-sources.ts'
import { rawSparse, SPARSE_FORMATS, type SparseFile, wholeText } from '../formats/raw-sparse.ts'
import { type RawMember, rawTar } from '../formats/raw-tar.ts'
import { haveImages, imagesFolder, imagesSuffix } from '../shared-folder.ts'
import { temporaryFolder } from '../temporary-folder.ts'

/** Members that hold their own name, but where content is given after a colon. */
function members(...names: readonly string[]): RawMember[] {
  return names.map((text) => {
    const [name, data] = text.split(/:(.*)/s) as [string, string?]
    return name.endsWith('/') ? { name, type: '5' } : { name, data: data ?? name }
  })
}

interface Case {
  readonly what: string
  readonly shards: Readonly<Record<string, readonly string[]>>
  readonly options?: LabelOptions
  readonly images: readonly (readonly [string, number])[]
  readonly classNames?: readonly string[]
  readonly ignored?: readonly string[]
  readonly notes?: readonly string[]
}

const CASES: Case[] = [
  {
    what: 'WebDataset samples with .cls, in the order of the archive',
    shards: { 'a.tar': ['b/7.jpg', 'b/7.cls:3', 'a.cls: 12\n', 'a.jpg', 'a.mask.png', 'a.txt'] },
    images: [
      ['b/7.jpg', 3],
      ['a.jpg', 12],
    ],
    ignored: ['a.mask.png', 'a.txt'],
  },
  {
    what: 'WebDataset samples with .json; .cls counts more',
    shards: {
      'a.tar': [
        '0.json:{"label":5,"caption":"x"}',
        '0.webp',
        '1.png',
        '1.cls:1',
        '1.json:{"label":9}',
        '2.png',
        '2.json:{"cls":4}',
      ],
    },
    images: [
      ['0.webp', 5],
      ['1.png', 1],
      ['2.png', 4],
    ],
  },
  {
    what: 'what macOS packs beside files, and beside their labels',
    shards: {
      'a.tar': [
        '._0.cls:x',
        '0.cls:3',
        '._0.jpg',
        '0.jpg',
        '._1.json:{',
        '1.json:{"label":4}',
        '1.png',
        '._dataset.json:{',
      ],
    },
    images: [
      ['0.jpg', 3],
      ['1.png', 4],
    ],
    ignored: ['._0.jpg'],
  },
  {
    what: 'shards, whose samples may have the same keys',
    shards: { 'train-000.tar': ['0.jpg', '0.cls:1'], 'train-001.tar': ['0.jpg', '0.cls:2'] },
    images: [
      ['train-000.tar/0.jpg', 1],
      ['train-001.tar/0.jpg', 2],
    ],
  },
  {
    what: 'class folders',
    shards: {
      'a.tar': ['train/', 'train/dog/', 'train/dog/1.png', 'train/cat/1.png', 'train/cat/.hidden.png', 'README'],
    },
    images: [
      ['train/dog/1.png', 1],
      ['train/cat/1.png', 0],
    ],
    classNames: ['cat', 'dog'],
    ignored: ['train/cat/.hidden.png', 'README'],
    notes: ["Took the classes from inside 'train', the only folder at the top."],
  },
  {
    what: 'class folders over shards',
    shards: { '0.tar': ['dog/1.png'], '1.tar': ['cat/1.png', 'dog/2.png'] },
    images: [
      ['0.tar/dog/1.png', 1],
      ['1.tar/cat/1.png', 0],
      ['1.tar/dog/2.png', 1],
    ],
    classNames: ['cat', 'dog'],
  },
  {
    what: "the reference's layout",
    shards: { 'a.tar': ['00000/img00000000.png', 'dataset.json:{"labels": [["00000/img00000000.png", 8]]}'] },
    images: [['00000/img00000000.png', 8]],
  },
  {
    what: 'an archive for each class',
    shards: { 'n02.tar': ['n02_7.JPEG', 'n02_1.JPEG'], 'n01.tar': ['n01_3.JPEG'] },
    images: [
      ['n01.tar/n01_3.JPEG', 0],
      ['n02.tar/n02_7.JPEG', 1],
      ['n02.tar/n02_1.JPEG', 1],
    ],
    classNames: ['n01', 'n02'],
    notes: ["Took each archive for a class, as its images begin with its name: 'n01', 'n02'."],
  },
  {
    what: 'class folders whose names begin as the archive does',
    shards: { 'cats.tar': ['cats_wild/1.png', 'cats_tame/1.png'] },
    images: [
      ['cats_wild/1.png', 1],
      ['cats_tame/1.png', 0],
    ],
    classNames: ['cats_tame', 'cats_wild'],
  },
  {
    what: 'no labels, where none are wanted',
    shards: { 'a.tar': ['1.jpg', '1.txt', '1.json:{"caption":"x"}'] },
    options: { unlabelled: true },
    images: [['1.jpg', 0]],
    ignored: ['1.txt'],
  },
]

function write(shards: Readonly<Record<string, readonly string[]>>, gzip: boolean): string {
  const folder = temporaryFolder()
  for (const [name, content] of Object.entries(shards)) {
    const bytes = rawTar(members(...content))
    writeFileSync(join(folder, gzip ? `${name}.gz` : name), gzip ? gzipSync(bytes) : bytes)
  }
  return folder
}

describe.each([false, true])('openImageSource of tar archives, gzipped: %s', (gzip) => {
  test.each(CASES)('$what', async ({ shards, options, images, classNames, ignored = [], notes = [] }) => {
    const folder = write(shards, gzip)
    const shown = (name: string) => (gzip ? name.replace(/^([^/]*\.tar)\//, '$1.gz/') : name)
    const names = Object.keys(shards)
    const note = `Read the archive '${names[0]}${gzip ? '.gz' : ''}', the only one in '${folder}'.`
    const source = await openImageSource(folder, options)
    try {
      expect(source.images.map(({ name, label }) => [name, label])).toEqual(
        images.map(([name, label]) => [shown(name), label]),
      )
      expect(source.classNames).toEqual(classNames)
      expect(source.ignored).toEqual(ignored.map(shown))
      expect(source.notes).toEqual(names.length === 1 ? [note, ...notes] : notes)
      const texts = async (order: readonly (typeof source.images)[number][]) =>
        Promise.all(order.map(async (image) => Buffer.from(await source.read(image)).toString()))
      const own = images.map(([name]) => name.replace(/^[^/]*\.tar\//, ''))
      // At the same time, in order, and back to front.
      expect(await texts(source.images)).toEqual(own)
      expect(await texts([...source.images].reverse())).toEqual([...own].reverse())
    } finally {
      await source.close()
    }
  })
})

describe('openImageSource of tar archives', () => {
  test.each<[string, Readonly<Record<string, readonly string[]>>, string]>([
    [
      'a sample without a label',
      { 'a.tar': ['1.jpg', '1.cls:0', '2.jpg'] },
      "no label for 1 of 2 images: '2.jpg'. Each needs a .cls",
    ],
    [
      'a .cls file of words',
      { 'a.tar': ['1.jpg', '1.cls:dog'] },
      'the label file "1.cls" holds "dog"; the number of a class',
    ],
    ['a .json file that is none', { 'a.tar': ['1.jpg', '1.json:{'] }, 'the label file "1.json" is not JSON'],
    ['loose images', { 'a.tar': ['1.jpg'] }, "a.tar' has no class folders. Put the images into one folder per class"],
    ['no images', { 'a.tar': ['1.txt'] }, 'holds no images (.jpg'],
    ['archives inside', { 'a.tar': ['1.tar', '2.tar'] }, 'holds no images but 2 tar archives; unpack it once'],
    ['a name twice', { 'a.tar': ['a/1.jpg', 'a/1.jpg'] }, 'has two members named "a/1.jpg"'],
    ['a name that leads out', { 'a.tar': ['a/../../1.jpg'] }, 'leads out of its folder by ".."; it is not safe'],
    [
      'a dataset.json of one shard of several',
      { '0.tar': ['00000/0.png', 'dataset.json:{"labels": [["00000/0.png", 7]]}'], '1.tar': ['00001/1.png'] },
      "0.tar' holds a dataset.json, which gives the labels of an archive by itself. Unpack the shards into one folder",
    ],
    [
      'a label of a missing image',
      { 'a.tar': ['1.png', 'dataset.json:{"labels": [["1.png", 0], ["2.png", 0]]}'] },
      'names 1 images that are not there',
    ],
  ])('refuses %s', async (_, shards, message) => {
    await expect(openImageSource(write(shards, false))).rejects.toThrow(message)
  })

  test.each([
    ['hard', '1'],
    ['symbolic', '2'],
  ])('refuses %s links in the place of images, which a folder would have', async (_, type) => {
    const folder = temporaryFolder()
    const linked = [...members('a/1.png', 'b/1.png'), { name: 'b/notes.txt', type }, { name: 'b/2.png', type }]
    for (const file of ['a.tar', 'a.tar.gz']) {
      const tar = rawTar(linked)
      writeFileSync(join(folder, file), file.endsWith('gz') ? gzipSync(tar) : tar)
      await expect(openImageSource(join(folder, file))).rejects.toThrow(
        `'${join(folder, file)}' holds 1 links where images should be: 'b/2.png'. Pack it again with tar --dereference`,
      )
    }
    writeFileSync(join(folder, 'b.tar'), rawTar(linked.slice(0, -1)))
    const source = await openImageSource(join(folder, 'b.tar'))
    await source.close()
    expect(source.images).toHaveLength(2)
  })

  test.each(SPARSE_FORMATS)('images that were stored without their holes, in the format %s', async (format) => {
    const image = (name: string): SparseFile => ({
      name,
      size: 3000,
      pieces: [
        [700, name],
        [2000, 'end'],
      ],
    })
    const images = [image('a/1.bmp'), image('b/1.bmp')]
    const tar = rawTar(images.flatMap((file) => rawSparse(format, file)))
    const folder = temporaryFolder()
    for (const file of ['a.tar', 'a.tar.gz']) {
      writeFileSync(join(folder, file), file.endsWith('gz') ? gzipSync(tar) : tar)
      const source = await openImageSource(join(folder, file))
      expect(source.images.map(({ name }) => name)).toEqual(['a/1.bmp', 'b/1.bmp'])
      expect(source.ignored).toEqual([])
      for (const [i, file] of images.entries()) {
        expect(Buffer.from(await source.read(source.images[i]!)).toString('latin1')).toBe(wholeText(file))
      }
      await source.close()
    }
  })

  test('a sparse image of absurdly many bytes is a damaged image', async () => {
    const path = join(temporaryFolder(), 'a.tar')
    const file = { name: 'a/1.bmp', size: 2 ** 31, pieces: [[2 ** 31, '']] } as const
    writeFileSync(path, rawTar(rawSparse('pax 1.0', file)))
    const source = await openImageSource(path)
    await expect(source.read(source.images[0]!)).rejects.toThrow(
      'the member "a/1.bmp" has 2147483648 bytes; at most 1073741824 are accepted here',
    )
    await source.close()
  })

  test('several paths and patterns', async () => {
    const folder = write({ '00.tar': ['a/1.png'], '01.tar': ['b/1.png'], '02.tar': ['c/1.png'] }, false)
    for (const given of [join(folder, '{00..01}.tar'), [join(folder, '00.tar'), join(folder, '01.tar')]]) {
      const source = await openImageSource(given)
      expect(source.images.map(({ name }) => name)).toEqual(['00.tar/a/1.png', '01.tar/b/1.png'])
      expect(source.path).toBe(`${join(folder, '00.tar')} and 1 more`)
      await source.close()
    }
    await expect(openImageSource(join(folder, '{02..03}.tar'))).rejects.toThrow(
      `no image source '${join(folder, '03.tar')}'`,
    )
    mkdirSync(join(folder, 'x'))
    await expect(openImageSource([join(folder, '00.tar'), join(folder, 'x')])).rejects.toThrow(
      'Several sources must all be tar archives or all be parquet files',
    )
  })

  test.skipIf(!haveImages)(`45,000 images of a gzipped archive${imagesSuffix}`, async () => {
    const source = await openImageSource(join(imagesFolder, 'cifar10/train45k-rest-jpg.tar.gz'))
    try {
      expect(source.images).toHaveLength(45_000)
      expect(source.classNames?.[2]).toBe('bird')
      const [first, second] = [source.images[0]!, source.images[1]!]
      expect(first.name).toBe('train/airplane/0500.jpg')
      const read = await Promise.all([first, second].map((image) => source.read(image)))
      expect(read.map(({ length }) => length)).toEqual([795, 997])
    } finally {
      await source.close()
    }
  })
})
