import { execFileSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { describe, expect, test } from 'vitest'
import { FileFormatError } from '../../src/formats/errors.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { type Listed, listTar, placeTar } from './list-tar.ts'
import { paxRecord, type RawMember, rawTar } from './raw-tar.ts'

const long = `${'folder/'.repeat(20)}grüße.jpg`
const base256 = Buffer.from([0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3])

const ARCHIVES: readonly (readonly [what: string, members: readonly RawMember[], expected: readonly Listed[]])[] = [
  ['nothing', [], []],
  [
    'files of no, one and several blocks',
    [
      { name: 'a' },
      { name: 'b', data: 'x' },
      { name: 'c', data: 'y'.repeat(512) },
      { name: 'd', data: 'z'.repeat(20000) },
    ],
    [
      { name: 'a', kind: 'file', text: '' },
      { name: 'b', kind: 'file', text: 'x' },
      { name: 'c', kind: 'file', text: 'y'.repeat(512) },
      { name: 'd', kind: 'file', text: 'z'.repeat(20000) },
    ],
  ],
  [
    'folders, links and devices',
    [
      { name: 'd/', type: '5' },
      { name: './d/l', type: '2' },
      { name: 'n', type: '3' },
      { name: 'old/', type: '\0' },
    ],
    [
      { name: 'd/', kind: 'folder', text: '' },
      { name: 'd/l', kind: 'link', text: '' },
      { name: 'n', kind: 'other', text: '' },
      { name: 'old/', kind: 'folder', text: '' },
    ],
  ],
  ['a prefix', [{ name: 'b.jpg', prefix: 'deep/er' }], [{ name: 'deep/er/b.jpg', kind: 'file', text: '' }]],
  [
    'no prefix in GNU headers, whose bytes there are times',
    [{ name: 'b.jpg', prefix: '14523', magic: 'ustar  \0' }],
    [{ name: 'b.jpg', kind: 'file', text: '' }],
  ],
  [
    'a long name of pax, for one member only',
    [
      { name: 'x', type: 'x', data: paxRecord('mtime', '1.5') + paxRecord('path', long) },
      { name: 'short', data: '1' },
      { name: 'next', data: '2' },
    ],
    [
      { name: long, kind: 'file', text: '1' },
      { name: 'next', kind: 'file', text: '2' },
    ],
  ],
  [
    'a name of pax for all members, which stands until there is another, and goes behind that of one member',
    [
      { name: 'g', type: 'g', data: paxRecord('path', 'all') },
      { name: 'g', type: 'g', data: paxRecord('comment', 'of an archive') },
      { name: 'x', type: 'x', data: paxRecord('path', 'own') },
      { name: 'a', data: '1' },
      { name: 'b', data: '2' },
    ],
    [
      { name: 'own', kind: 'file', text: '1' },
      { name: 'all', kind: 'file', text: '2' },
    ],
  ],
  [
    'a size of pax that the header has not',
    [
      { name: 'x', type: 'x', data: paxRecord('size', '5') },
      { name: 'a', data: '12345', sizeField: '00000000000\0' },
    ],
    [{ name: 'a', kind: 'file', text: '12345' }],
  ],
  [
    'a long name of GNU',
    [
      { name: '././@LongLink', type: 'L', data: `${long}\0`, magic: 'ustar  \0' },
      { name: 'folder', data: '1', magic: 'ustar  \0' },
    ],
    [{ name: long, kind: 'file', text: '1' }],
  ],
  ['a size in base 256', [{ name: 'a', data: '123', sizeField: base256 }], [{ name: 'a', kind: 'file', text: '123' }]],
]

describe.each(['plain', 'gzip'])('readTar of a %s archive', (kind) => {
  test.each(ARCHIVES)('%s', async (_, members, expected) => {
    const path = await placeTar(kind, rawTar(members))
    const utf8 = expected.map(({ text, ...rest }) => ({ ...rest, text }))
    expect(await listTar(path)).toEqual(utf8)
    // What is not read is skipped.
    expect(await listTar(path, (name) => name === 'd')).toEqual(
      utf8.map((member) => (member.name === 'd' ? member : { ...member, text: undefined })),
    )
  })

  const whole = rawTar([
    { name: 'a', data: 'x'.repeat(700) },
    { name: 'b', data: 'y'.repeat(700) },
  ])
  test.each([
    ['in a header', 512 + 1024 + 100, 'cut off at the member "a"'],
    ['in a file', 512 + 1024 + 512 + 300, 'cut off at the member "b"'],
    ['between members', 512 + 1024, 'cut off at the member "a"'],
    ['before the closing blocks', 2 * (512 + 1024), 'cut off at the member "b"'],
    ['before anything', 0, 'cut off at its beginning'],
  ])('cut %s', async (_, length, message) => {
    await expect(listTar(await placeTar(kind, whole.subarray(0, length)))).rejects.toThrow(message)
  })

  test.each<[string, readonly RawMember[], string]>([
    [
      'a wrong checksum',
      [{ name: 'a' }, { name: 'b', checksum: 1 }],
      'damaged after the member "a": there is no header',
    ],
    ['no archive at all', [{ name: 'a', checksum: 1 }], 'this is no tar archive'],
    ['a size that is none', [{ name: 'a', sizeField: '9z         \0' }], 'the size of the next member is no number'],
    ['a negative size', [{ name: 'a', sizeField: Buffer.alloc(12, 0xff) }], 'the size of the next member is no number'],
    ['a pax record too long', [{ name: 'x', type: 'x', data: '99 path=a\n' }], 'a record of the wrong length'],
    ['a pax record of no length', [{ name: 'x', type: 'x', data: '0 path=a\n' }], 'a record of the wrong length'],
    ...['9'.repeat(400), String(2 ** 53), '-1', '1e3', ''].map((size): [string, readonly RawMember[], string] => [
      `a size of pax of ${JSON.stringify(size).slice(0, 24)}`,
      [{ name: 'a' }, { name: 'x', type: 'x', data: paxRecord('size', size) }, { name: 'b', data: '1' }, { name: 'c' }],
      `damaged after the member "a": a pax header gives the next member the size "${size.slice(0, 40)}`,
    ]),
    ['an endless name', [{ name: 'x', type: 'L', sizeField: '77777777777\0' }], 'it has a name of 8589934591 bytes'],
  ])('refuses %s', async (_, members, message) => {
    const path = await placeTar(kind, rawTar(members))
    await expect(listTar(path)).rejects.toThrow(message)
    await expect(listTar(path)).rejects.toThrow(FileFormatError)
  })
})

test('a gzip stream that is damaged, and one that is cut off', async () => {
  const members = Array.from({ length: 50 }, (_, i) => ({ name: `${i}`, data: Buffer.alloc(3000, `${i * 7919}`) }))
  const packed = gzipSync(rawTar(members))
  const path = join(temporaryFolder(), 'a.tgz')
  writeFileSync(path, packed.subarray(0, packed.length / 2))
  await expect(listTar(path)).rejects.toThrow('a.tgz: the tar archive is cut off at')
  packed.fill(0xff, 200, 260)
  writeFileSync(path, packed)
  await expect(listTar(path)).rejects.toThrow(/a\.tgz: (it cannot be unpacked near|the tar archive is damaged)/)
})

test.each(['ustar', 'pax', 'gnu', 'v7'])('reads what tar writes in the format %s', async (format) => {
  const folder = temporaryFolder()
  const name = format === 'v7' || format === 'ustar' ? 'in/short.jpg' : `in/${'x'.repeat(180)}.jpg`
  mkdirSync(join(folder, 'in'))
  writeFileSync(join(folder, name), 'data')
  const path = join(folder, 'a.tar')
  try {
    execFileSync('tar', [`--format=${format}`, '-cf', path, '-C', folder, './in'], { stdio: 'ignore' })
  } catch {
    // A tar that is not GNU's knows fewer formats.
    return
  }
  expect((await listTar(path)).filter(({ kind }) => kind === 'file')).toEqual([{ name, kind: 'file', text: 'data' }])
})
