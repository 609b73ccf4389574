import { randomBytes } from 'node:crypto'
import { readdir, readFile, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { describe, expect, onTestFinished, test } from 'vitest'
import { FileFormatError } from '../../src/formats/errors.ts'
import { safeEntryName } from '../../src/formats/zip-entry-name.ts'
import { ZipFile } from '../../src/formats/zip-reader.ts'
import { ZipWriter } from '../../src/formats/zip-writer.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { sparseFileSystem } from './failing-file-system.ts'
import { rawZip } from './raw-zip.ts'

async function readEverything(path: string): Promise<Map<string, Buffer>> {
  await using zip = await ZipFile.open(path)
  const all = new Map<string, Buffer>()
  for (const name of zip.entries.keys()) {
    const whole = Buffer.from(await zip.read(name))
    const pieces: Uint8Array[] = []
    for await (const piece of zip.stream(name)) pieces.push(piece.slice())
    expect(Buffer.concat(pieces).equals(whole)).toBe(true)
    all.set(name, whole)
  }
  return all
}

describe('reading', () => {
  const large = Buffer.alloc(3 * 2 ** 20 + 17, 'compressible ')
  test.each([
    ['no entries', [], new Map()],
    ['a stored entry', [{ data: Buffer.from('stored') }], new Map([['a', 'stored']])],
    ['a deflated entry', [{ data: large, method: 8 }], new Map([['a', large.toString()]])],
    ['an empty entry', [{ data: Buffer.alloc(0) }], new Map([['a', '']])],
    ['an empty deflated entry', [{ data: Buffer.alloc(0), method: 8 }], new Map([['a', '']])],
    [
      'several',
      [{ name: 'b/', data: Buffer.alloc(0) }, { name: 'b/c' }],
      new Map([
        ['b/', ''],
        ['b/c', 'data'],
      ]),
    ],
    ['a name in UTF-8 that says so', [{ name: 'größe', flags: 1 << 11 }], new Map([['größe', 'data']])],
    ['a name in UTF-8 that does not', [{ name: 'größe' }], new Map([['größe', 'data']])],
    ['a name in code page 437', [{ name: Buffer.from([0x81, 0xe1]) }], new Map([['üß', 'data']])],
    ['a name that is a path out of here, raw', [{ name: '../x' }], new Map([['../x', 'data']])],
    ['__proto__', [{ name: '__proto__' }], new Map([['__proto__', 'data']])],
  ])('%s', async (_, entries, expected) => {
    const path = join(temporaryFolder(), 'a.zip')
    await writeFile(path, rawZip(entries))
    const all = [...(await readEverything(path))].map(([name, data]) => [name, data.toString()])
    expect(all).toEqual([...expected])
  })

  test('an entry of many pieces leaves no listener behind for each, read to its end or not', async () => {
    const path = join(temporaryFolder(), 'a.zip')
    const data = randomBytes(16 * 2 ** 20)
    await writeFile(path, rawZip([{ data, method: 8 }]))
    const warnings: Error[] = []
    const note = (warning: Error) => warnings.push(warning)
    process.on('warning', note)
    onTestFinished(() => void process.off('warning', note))
    await using zip = await ZipFile.open(path)
    for (const wanted of [1, Number.POSITIVE_INFINITY]) {
      const pieces: Uint8Array[] = []
      for await (const piece of zip.stream('a')) if (pieces.push(piece.slice()) === wanted) break
      const read = Buffer.concat(pieces)
      expect(read.equals(data.subarray(0, wanted === 1 ? read.length : undefined))).toBe(true)
    }
    // Node tells of them in the next turn.
    await setImmediate()
    expect(warnings).toEqual([])
  })

  test('an archive with a comment that holds an end record', async () => {
    const path = join(temporaryFolder(), 'a.zip')
    const whole = rawZip([{}])
    const comment = Buffer.concat([whole.subarray(-22), Buffer.from('the end')])
    whole.writeUInt16LE(comment.length, whole.length - 2)
    await writeFile(path, Buffer.concat([whole, comment]))
    expect([...(await readEverything(path)).keys()]).toEqual(['a'])
  })

  test('a range of a stored entry', async () => {
    const path = join(temporaryFolder(), 'a.zip')
    await writeFile(path, rawZip([{ data: Buffer.from('0123456789') }, { name: 'b', method: 8 }]))
    await using zip = await ZipFile.open(path)
    expect(Buffer.from(await zip.readRange('a', 3, 4)).toString()).toBe('3456')
    await expect(zip.readRange('a', 8, 4)).rejects.toThrow(/"a" has 10 bytes; 8 to 12 is outside/)
    await expect(zip.readRange('b', 0, 1)).rejects.toThrow(/"b" is deflated/)
    await expect(zip.read('c')).rejects.toThrow(/no entry "c"/)
    await expect(zip.read('a', { maxBytes: 9 })).rejects.toThrow(/"a" unpacks to 10 bytes; at most 9/)
  })
})

describe('refused', () => {
  const bomb = Buffer.alloc(100_000)
  test.each<[string, Buffer, RegExp]>([
    ['an encrypted entry', rawZip([{ flags: 1 }]), /"a" is encrypted/],
    ['strong encryption', rawZip([{ flags: 1 << 6 }]), /"a" is encrypted/],
    ['another method', rawZip([{ method: 12 }]), /"a" is packed by method 12/],
    ['two entries of one name', rawZip([{}, {}]), /two entries named "a"/],
    [
      'a size that deflate cannot reach',
      rawZip([{ data: bomb, method: 8, size: 2 ** 31 }]),
      /"a" claims 2147483648 bytes/,
    ],
    ['a stored entry of two sizes', rawZip([{ size: 5 }]), /"a" claims 5 bytes in 4/],
    ['entries that share bytes', rawZip([{ name: 'a' }, { name: 'b', offset: 0 }]), /overlaps/],
    ['an entry over the directory', rawZip([{ size: 50, compressedSize: 50 }]), /overlaps the central directory/],
    [
      'an entry that is elsewhere',
      rawZip([
        { name: 'a', offset: 0 },
        { name: 'b', offset: 36 },
      ]),
      /"b" has no header at byte 36/,
    ],
    ['a zip64 size that is not there', rawZip([{ size: 0xffffffff }]), /"a" lacks its zip64 sizes/],
    [
      'a zip64 size past all numbers',
      rawZip([{ size: 0xffffffff, extra: Buffer.from([1, 0, 8, 0, 255, 255, 255, 255, 255, 255, 255, 255]) }]),
      /"a" lacks its zip64 sizes/,
    ],
    [
      'an extra field past its end',
      rawZip([{ size: 0xffffffff, extra: Buffer.from([1, 0, 99, 0]) }]),
      /"a" lacks its zip64 sizes/,
    ],
    ['more entries than the directory holds', rawZip([{}], { count: 2 }), /damaged: 2 entries/],
    ['a directory past the end', rawZip([{}], { offset: 10_000 }), /damaged: 1 entries/],
    ['a directory that is elsewhere', rawZip([{}], { offset: 1 }), /central directory.*damaged/],
    ['several disks', rawZip([{}], { disk: 1 }), /several disks/],
    ['a name that is not its UTF-8', rawZip([{ name: Buffer.from([0xff]), flags: 1 << 11 }]), /not the UTF-8/],
    ['a wrong checksum', rawZip([{ sum: 1 }]), /"a" does not match its CRC-32/],
    ['a wrong checksum, deflated', rawZip([{ sum: 1, method: 8 }]), /"a" does not match its CRC-32/],
    [
      'more bytes than declared',
      rawZip([{ data: bomb, method: 8, size: 99_999 }]),
      /"a" (cannot be unpacked|unpacks to)/,
    ],
    [
      'fewer bytes than declared',
      rawZip([{ data: bomb, method: 8, size: 100_001 }]),
      /"a" unpacks to 100000 bytes instead/,
    ],
    ['no deflate', rawZip([{ method: 8, compressedSize: 2 }]), /"a"/],
    ['no archive', Buffer.from('PK\x03\x04 or so'), /no end record/],
    ['an empty file', Buffer.alloc(0), /no end record/],
  ])('%s', async (_, bytes, message) => {
    const path = join(temporaryFolder(), 'bad.zip')
    await writeFile(path, bytes)
    const error = await readEverything(path).catch((error: unknown) => error)
    expect(error).toBeInstanceOf(FileFormatError)
    expect((error as Error).message).toMatch(message)
    expect((error as Error).message).toContain(path)
    const streamed = (async () => {
      await using zip = await ZipFile.open(path)
      for (const name of zip.entries.keys()) for await (const _ of zip.stream(name));
    })()
    await expect(streamed).rejects.toBeInstanceOf(FileFormatError)
  })

  test.each([
    ['/etc/passwd', /absolute path/],
    ['C:/x', /drive letter/],
    ['a\\b', /backslash/],
    ['../x', /leads out of its folder/],
    ['a/../../x', /leads out of its folder/],
    ['a/..', /leads out of its folder/],
    ['..', /leads out of its folder/],
    ['a\0b', /NUL/],
    ['', /empty/],
  ])('the name %j is not safe', (name, message) => {
    expect(() => safeEntryName(name)).toThrow(message)
  })

  test.each(['a', 'a/b.png', '..a/b..', 'a/...', '.hidden', 'C'])('the name %j is safe', (name) => {
    expect(safeEntryName(name)).toBe(name)
  })
})

describe('damage', () => {
  const whole = rawZip([
    { data: Buffer.from('some stored data') },
    { name: 'b', method: 8, data: Buffer.from('deflated') },
  ])

  test('truncation at every byte is found on opening', async () => {
    const path = join(temporaryFolder(), 'a.zip')
    await writeFile(path, whole)
    for (let length = whole.length - 1; length >= 0; length--) {
      await truncate(path, length)
      await expect(ZipFile.open(path)).rejects.toBeInstanceOf(FileFormatError)
    }
  })

  test('a flipped bit in any byte gives a clear error or leaves the data as it was', async () => {
    const path = join(temporaryFolder(), 'a.zip')
    let refused = 0
    for (let byte = 0; byte < whole.length; byte++) {
      const flipped = Buffer.from(whole)
      flipped[byte]! ^= 1 << (byte % 8)
      await writeFile(path, flipped)
      const result = await readEverything(path).catch((error: unknown) => error)
      if (result instanceof Error) {
        expect(result).toBeInstanceOf(FileFormatError)
        refused++
      } else {
        expect([...(result as Map<string, Buffer>).values()].join()).toBe('some stored data,deflated')
      }
    }
    expect(refused).toBeGreaterThan(whole.length / 4)
  })
})

describe('writing', () => {
  test.each([1, 64, 4096])('entries whose data is aligned to %i bytes', async (alignment) => {
    const path = join(temporaryFolder(), 'a.zip')
    const zip = await ZipWriter.create(path, { alignment })
    const contents = new Map(
      [0, 1, 63, 64, 1000].map((size, i) => [`größe/${'x'.repeat(i)}`, Buffer.alloc(size, i + 1)]),
    )
    for (const [name, data] of contents) await zip.add(name, data)
    const entry = await zip.open('pieces', 5)
    await entry.write(Buffer.from('ab'))
    await entry.write(Buffer.from('cde'))
    await entry.close()
    expect(await readdir(join(path, '..'))).not.toContain('a.zip')
    await zip.close()

    contents.set('pieces', Buffer.from('abcde'))
    expect(await readEverything(path)).toEqual(contents)
    const bytes = await readFile(path)
    for (const [name, data] of contents) {
      const start = bytes.indexOf(Buffer.from(name)) + Buffer.byteLength(name)
      const extra = bytes.readUInt16LE(start - Buffer.byteLength(name) - 2)
      expect((start + extra) % alignment).toBe(0)
      expect(bytes.subarray(start + extra, start + extra + data.length).equals(data)).toBe(true)
    }
  })

  test.each<[string, (zip: ZipWriter) => Promise<unknown>, RegExp]>([
    [
      'two entries of one name',
      (zip) => zip.add('a', Buffer.alloc(1)).then(() => zip.add('a', Buffer.alloc(1))),
      /already is an entry/,
    ],
    ['an entry while one is open', (zip) => zip.open('a', 1).then(() => zip.open('b', 1)), /close the open entry/],
    [
      'too many bytes',
      async (zip) => (await zip.open('a', 1)).write(Buffer.alloc(2)),
      /announced with 1 bytes; 2 more/,
    ],
    ['too few bytes', async (zip) => (await zip.open('a', 1)).close(), /announced with 1 bytes, but got 0/],
    ['an end while an entry is open', (zip) => zip.open('a', 1).then(() => zip.close()), /still open/],
  ])('%s: refused, and nothing is left behind', async (_, action, message) => {
    const folder = temporaryFolder()
    const zip = await ZipWriter.create(join(folder, 'a.zip'))
    await expect(action(zip)).rejects.toThrow(message)
    await zip.abort()
    expect(await readdir(folder)).toEqual([])
  })

  test('70,000 entries need zip64', async () => {
    const path = join(temporaryFolder(), 'many.zip')
    const zip = await ZipWriter.create(path)
    for (let i = 0; i < 70_000; i++) await zip.add(String(i), Buffer.alloc(0))
    await zip.close()
    await using file = await ZipFile.open(path)
    expect(file.entries.size).toBe(70_000)
  })

  test('an entry past 4 GiB, and one that begins there, need zip64', async () => {
    const path = join(temporaryFolder(), 'large.zip')
    const zip = await ZipWriter.create(path, { fileSystem: sparseFileSystem })
    const chunk = Buffer.alloc(2 ** 28)
    const entry = await zip.open('large', 2 ** 32 + 8)
    for (let i = 0; i < 16; i++) await entry.write(chunk)
    await entry.write(Buffer.from('the tail'))
    await entry.close()
    await zip.add('after', Buffer.from('it'))
    await zip.close()
    await using file = await ZipFile.open(path)
    expect(file.entries.get('large')?.size).toBe(2 ** 32 + 8)
    expect(Buffer.from(await file.readRange('large', 2 ** 32 - 2, 10)).toString()).toBe('\0\0the tail')
    expect(Buffer.from(await file.read('after')).toString()).toBe('it')
    await expect(file.read('large')).rejects.toThrow(/at most 2147483648/)
  })
})
