import { execFileSync } from 'node:child_process'
import { closeSync, ftruncateSync, openSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { FileFormatError } from '../../src/formats/errors.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { listTar, placeTar } from './list-tar.ts'
import { octal, rawSparse, SPARSE_FORMATS, type SparseFile, wholeText } from './raw-sparse.ts'
import { paxRecord, type RawMember, rawTar } from './raw-tar.ts'

/** Pieces of lengths that no block divides, each of its own letter. */
const pieces = (count: number) =>
  Array.from({ length: count }, (_, i) => [i * 900 + 100, String.fromCharCode(65 + (i % 26)).repeat(200 + i)] as const)

const FILES: readonly (readonly [what: string, file: SparseFile])[] = [
  ['a hole at both ends and between', { name: 'd/a.bmp', size: 5000, pieces: pieces(2) }],
  ['nothing but a hole', { name: 'a.bmp', size: 3000, pieces: [[3000, '']] }],
  [
    'no hole at its beginning, a piece of nothing at its end',
    {
      name: 'a',
      size: 700,
      pieces: [
        [0, 'xy'],
        [700, ''],
      ],
    },
  ],
  // Of GNU's format four pieces fill the header and 21 each block after it; the lines of pax 1.0 fill more than a block.
  ['as many pieces as a header holds', { name: 'a', size: 4000, pieces: pieces(4) }],
  ['one piece more', { name: 'a', size: 5000, pieces: pieces(5) }],
  ['as many as a header and a block hold', { name: 'a', size: 30000, pieces: pieces(25) }],
  ['as many as a header and three blocks hold, and one more', { name: 'a', size: 70000, pieces: pieces(68) }],
]

describe.each(SPARSE_FORMATS)('readTar of sparse files in the format %s', (format) => {
  test.each(FILES)('%s', async (_, file) => {
    const archive = rawTar([{ name: 'before', data: '1' }, ...rawSparse(format, file), { name: 'after', data: '2' }])
    const expected = [
      { name: 'before', kind: 'file', text: '1' },
      { name: file.name, kind: 'file', text: wholeText(file) },
      { name: 'after', kind: 'file', text: '2' },
    ]
    for (const kind of ['plain', 'gzip']) {
      const path = await placeTar(kind, archive)
      expect(await listTar(path)).toEqual(expected)
      // What is not read is skipped.
      expect((await listTar(path, (name) => name === 'after')).at(-1)).toEqual(expected.at(-1))
    }
  })

  test('what tar writes', async () => {
    const folder = temporaryFolder()
    const file = openSync(join(folder, 'a.bmp'), 'w')
    const expected = Buffer.alloc(2 ** 20 + 10)
    for (let at = 0; at < 2 ** 20; at += 2 ** 17) {
      expected.fill(65 + at / 2 ** 17, at, at + 4096)
      writeSync(file, expected, at, 4096, at)
    }
    ftruncateSync(file, expected.length)
    closeSync(file)
    const path = join(folder, 'a.tar')
    const [name, version] = format.split(' ') as [string, string?]
    const flags = [`--format=${name}`, ...(version === undefined ? [] : [`--sparse-version=${version}`])]
    try {
      execFileSync('tar', [...flags, '-S', '-cf', path, '-C', folder, './a.bmp'], { stdio: 'ignore' })
    } catch {
      // A tar that is not GNU's knows fewer formats.
      return
    }
    expect(await listTar(path)).toEqual([{ name: 'a.bmp', kind: 'file', text: expected.toString('latin1') }])
  })
})

/** A member whose sparse map is said by pax's records, of so many stored bytes. */
const pax = (records: Readonly<Record<string, string>>, data = ''): RawMember[] => [
  {
    name: 'x',
    type: 'x',
    data: Object.entries(records)
      .map(([key, value]) => paxRecord(`GNU.sparse.${key}`, value))
      .join(''),
  },
  { name: 'a', data },
]
const gnu = (fields: Readonly<Record<number, string>>, data = ''): RawMember[] => [
  { name: 'a', type: 'S', magic: 'ustar  \0', fields, data },
]
const first = { major: '1', minor: '0', realsize: '9' }
const twoPieces = octal(0) + octal(2) + octal(1) + octal(2)

test.each<[string, readonly RawMember[], string]>([
  [
    'pieces that overlap',
    gnu({ 386: twoPieces, 483: octal(9) }, 'abcd'),
    'a piece of its map begins at byte 1, before the end of another',
  ],
  ['a piece beyond the end', pax({ size: '5', map: '4,2' }, 'ab'), 'its map reaches to byte 6 of 5'],
  [
    'more pieces than are stored',
    pax({ size: '9', map: '0,4' }, 'ab'),
    'its map is of 4 stored bytes, and there are 2',
  ],
  ['fewer', pax({ size: '9', offset: '0', numbytes: '1' }, 'ab'), 'its map is of 1 stored bytes, and there are 2'],
  ['a size that is none', pax({ size: 'x', map: '0,2' }, 'ab'), 'its size with its holes is no number'],
  ['no size', pax({ map: '0,2' }, 'ab'), 'its size with its holes is no number'],
  ['a number that is none', pax({ size: '9', map: '0,2,z,0' }, 'ab'), 'a number of its map is missing or is none'],
  ['an offset without a length', pax({ size: '9', offset: '0' }), 'a number of its map is missing or is none'],
  [
    'a field that is none',
    gnu({ 386: `z${octal(0).slice(1)}${octal(0)}`, 483: octal(9) }),
    'a number of its map is missing or is none',
  ],
  ['a count that is none', pax(first, 'z\n'.padEnd(512, '\0')), 'a number of its map is missing or is none'],
  ['a map longer than its data', pax(first, '2\n0\n'.padEnd(512, '\0')), 'its map does not end'],
  ['a map without a line', pax(first, 'x'.repeat(512)), 'its map does not end'],
  [
    'blocks without end',
    gnu(
      { 386: twoPieces, 482: '\x01', 483: octal(9) },
      `${octal(0) + octal(0)}${'\0'.repeat(480)}\x01${'\0'.repeat(7)}`.repeat(2050),
    ),
    'its map does not end',
  ],
  [
    'another version',
    pax({ ...first, major: '2' }),
    'the member "a" is sparse in the version 2.0 of pax, which is not read here. Pack the archive again without --sparse',
  ],
  ['half a version', pax({ major: '1', realsize: '9' }), 'its records of pax have no minor number of their version'],
  ['the other half', pax({ minor: '0', realsize: '9' }), 'its records of pax have no major number of their version'],
  [
    "star's form",
    [{ name: 'a', type: 'S' }],
    'the member "a" is sparse in a form that is not GNU\'s, which is not read here. Pack the archive again without --sparse',
  ],
])('refuses a sparse file with %s', async (_, members, message) => {
  const path = await placeTar('plain', rawTar(members))
  await expect(listTar(path)).rejects.toThrow(message)
  await expect(listTar(path)).rejects.toThrow(FileFormatError)
})
