import { existsSync, readdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parquetWriteBuffer } from 'hyparquet-writer'
import { describe, expect, test } from 'vitest'
import { prepareDataset } from '../../src/data/prepare.ts'
import { rawTar } from '../formats/raw-tar.ts'
import { rawZip } from '../formats/raw-zip.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { writeTree } from '../write-tree.ts'
import { png, setup } from './preparing.ts'

const IMAGES = [png(20, 16, 1), png(20, 16, 2)] as const
/** What dataset.json makes of the second image's label. */
const listed = (label: number, folder = '') =>
  JSON.stringify({ labels: [0, label].map((value, i) => [`${folder}${i}.png`, value]) })

/** Writes a source whose second image has this label, and names it. */
interface Source {
  readonly what: string
  readonly write: (folder: string, label: number) => string
  /** The second image's name. */
  readonly image: string
}

const file = (name: string, bytes: (label: number) => Uint8Array) => (folder: string, label: number) => {
  writeFileSync(join(folder, name), bytes(label))
  return join(folder, name)
}

const inDatasetJson = (label: number) => [
  ...IMAGES.map((data, i) => ({ name: `${i}.png`, data })),
  { name: 'dataset.json', data: Buffer.from(listed(label)) },
]

const inSamples = (ending: string, text: (label: number) => string) => (label: number) =>
  rawTar(
    IMAGES.flatMap((data, i) => [
      { name: `${i}.png`, data },
      { name: `${i}.${ending}`, data: text(i === 0 ? 0 : label) },
    ]),
  )

const inParquet = (label: number) =>
  new Uint8Array(
    parquetWriteBuffer({
      columnData: [
        { name: 'image', data: [...IMAGES], type: 'BYTE_ARRAY' },
        { name: 'label', data: [0, label], type: 'INT32' },
      ],
    }),
  )

const SOURCES: readonly Source[] = [
  {
    what: "a folder's dataset.json",
    image: '1.png',
    write: (folder, label) => {
      writeTree(folder, { '0.png': IMAGES[0], '1.png': IMAGES[1], 'dataset.json': listed(label) })
      return folder
    },
  },
  { what: "a zip's dataset.json", image: '1.png', write: file('set.zip', (label) => rawZip(inDatasetJson(label))) },
  { what: "a tar's dataset.json", image: '1.png', write: file('set.tar', (label) => rawTar(inDatasetJson(label))) },
  { what: 'a .cls of a tar', image: '1.png', write: file('set.tar', inSamples('cls', String)) },
  {
    what: 'a .json of a tar',
    image: '1.png',
    write: file(
      'set.tar',
      inSamples('json', (label) => JSON.stringify({ label })),
    ),
  },
  { what: 'a column of a parquet file', image: 'set.parquet, row 1', write: file('set.parquet', inParquet) },
]

describe.each(SOURCES)('the labels of $what', ({ write, image }) => {
  const [LAST, FIRST_TOO_LARGE] = [2 ** 20 - 1, 2 ** 20]

  test('are class numbers, of which the largest that is taken has its count', async () => {
    const [folder, out] = [temporaryFolder(), join(temporaryFolder(), 'out')]
    const { classCounts } = await prepareDataset({ source: write(folder, LAST), out, size: 16 })
    expect([classCounts.length, classCounts[0], classCounts[LAST]]).toEqual([LAST + 1, 1, 1])
  })

  test.each([FIRST_TOO_LARGE, 900_000_000])('that are identifiers such as %d are refused', async (label) => {
    const [folder, out] = [temporaryFolder(), join(temporaryFolder(), 'out')]
    const source = write(folder, label)
    const made: string[] = []
    const refused = prepareDataset({ source, out, size: 16, onProgress: ({ step }) => made.push(step) })
    await expect(refused).rejects.toThrow(
      `'${source}' gives '${image}' the label ${label}; the number of a class, from 0 and below 1048576, was expected, and this ` +
        'looks like an identifier. Take all images as class 0 by `unlabelled`, or, of parquet files, name the column of classes by `labelColumn`.',
    )
    expect([made, existsSync(out)]).toEqual([[], false])
    await expect(prepareDataset({ source, out, size: 16, unlabelled: true })).resolves.toMatchObject({
      classCounts: [2],
    })
    // Of images that are left out nothing is asked.
    const first = prepareDataset({ source, out: `${out}-first`, size: 16, maxImages: 1 })
    await expect(first).resolves.toMatchObject({ classCounts: [1] })
  })
})

test("an integer beyond 32 bits in a tar's .json is refused likewise", async () => {
  const folder = temporaryFolder()
  const source = join(folder, 'set.tar')
  writeFileSync(source, inSamples('json', (label) => JSON.stringify({ label }))(5_000_000_000))
  await expect(prepareDataset({ source, out: join(folder, 'out'), size: 16 })).rejects.toThrow('the label 5000000000;')
})

test('identifiers as labels of images that another tool made are refused, and nothing is added', async () => {
  const out = temporaryFolder()
  writeTree(join(out, 'images'), {
    '00000/0.png': png(16, 16, 1),
    '00000/1.png': png(16, 16, 2),
    'dataset.json': listed(900_000_000, '00000/'),
  })
  await expect(prepareDataset({ source: out, out, flip: true })).rejects.toThrow(
    `'${join(out, 'images/dataset.json')}' gives '00000/1.png' the label 900000000; the number of a class, from 0 and below 1048576, ` +
      'was expected, and this looks like an identifier. Put the numbers of classes there.',
  )
  expect(readdirSync(out)).toEqual(['images'])
})

test.each([
  [1, 'The first image is of 1 of 3 classes'],
  [2, 'The first 2 images are of 1 of 3 classes'],
  [3, 'The first 3 images are of 2 of 3 classes'],
  [5, undefined],
  [99, undefined],
])('where the first %d images leave classes empty, it is said', async (maxImages, beginning) => {
  const notices: string[] = []
  const names = ['a/0', 'a/1', 'b/0', 'b/1', 'c/0', 'c/1']
  const options = setup(Object.fromEntries(names.map((name, i) => [`${name}.png`, png(16, 16, i)])))
  await prepareDataset({ ...options, maxImages, onNotice: (sentence) => notices.push(sentence) })
  const end = "; the others have none. Images are taken in the source's order: take more of them to have all classes."
  expect(notices).toEqual(beginning === undefined ? [] : [beginning + end])
})
