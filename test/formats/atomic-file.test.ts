import { execFileSync, spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { lstat, mkdir, readdir, readFile, readlink, symlink, writeFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import {
  AtomicFile,
  type AtomicWriteOptions,
  nodeFileSystem,
  removeLeftovers,
  writeAtomically,
  writeWhole,
} from '../../src/formats/atomic-file.ts'
import { FileAccessError } from '../../src/formats/errors.ts'
import { NpzWriter } from '../../src/formats/npz.ts'
import { writeSafetensors } from '../../src/formats/safetensors-writer.ts'
import { writeTorchCheckpoint } from '../../src/formats/torch-checkpoint-writer.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { failingFileSystem } from './failing-file-system.ts'
import { patternTensor } from './tensors.ts'

const tensor = patternTensor('f32', [200_000])

async function writeNpz(path: string, options: AtomicWriteOptions): Promise<void> {
  const writer = await NpzWriter.create(path, options)
  try {
    await writer.add('arr_0', tensor)
    await writer.close()
  } catch (error) {
    await writer.abort()
    throw error
  }
}

const writers: [string, (path: string, options: AtomicWriteOptions) => Promise<void>][] = [
  [
    'safetensors',
    (path, options) => writeSafetensors(path, [{ name: 'x', ...tensor }], { ...options, checksum: true }),
  ],
  ['torch checkpoint', (path, options) => writeTorchCheckpoint(path, { x: tensor }, options)],
  ['npz', writeNpz],
]

describe.each(writers)('%s', (_, write) => {
  test.each([
    ['ENOSPC', /Cannot write .*weights\.bin: the disk is full; free some space and try again \(ENOSPC\)\./],
    ['EDQUOT', /Cannot write .*weights\.bin: the disk quota is used up; free some space and try again \(EDQUOT\)\./],
    ['EMFILE', /Cannot write .*weights\.bin: this process has too many files open; raise the limit \(ulimit -n\)/],
    ['EIO', /Cannot write .*weights\.bin: the disk reported an input\/output error; see whether it is sound \(EIO\)\./],
    ['ENOTKNOWN', /Cannot write .*weights\.bin: ENOTKNOWN: refused\./],
  ])('%s at any point: a clear error, the old file as it was, nothing beside it', async (code, message) => {
    const folder = temporaryFolder()
    const path = join(folder, 'weights.bin')
    await writeFile(path, 'the last good one')
    for (const capacity of [0, 100, 300_000, 800_000]) {
      const error = await write(path, { fileSystem: failingFileSystem(code, capacity) }).catch(
        (error: unknown) => error,
      )
      expect(error).toBeInstanceOf(FileAccessError)
      expect((error as Error).message).toMatch(message)
      expect(await readdir(folder)).toEqual(['weights.bin'])
      expect(await readFile(path, 'utf8')).toBe('the last good one')
    }
    await write(path, { fileSystem: failingFileSystem(code, 2_000_000), fsync: true })
    expect((await readFile(path)).length).toBeGreaterThan(800_000)
    expect(await readdir(folder)).toEqual(['weights.bin'])
  })

  test('into a folder that is not there', async () => {
    const path = join(temporaryFolder(), 'missing', 'weights.bin')
    await expect(write(path, {})).rejects.toThrow(
      /Cannot write .*weights\.bin: the folder that it is to lie in is not there; make it/,
    )
  })
})

test('a failing rename leaves nothing behind', async () => {
  const folder = temporaryFolder()
  const base = failingFileSystem('EIO', Number.POSITIVE_INFINITY)
  const fileSystem = { ...base, rename: () => Promise.reject(Object.assign(new Error('no'), { code: 'EROFS' })) }
  const writing = writeAtomically(join(folder, 'a'), { fileSystem }, (file) => file.append(tensor.data))
  await expect(writing).rejects.toThrow(/read-only; choose another place \(EROFS\)/)
  expect(await readdir(folder)).toEqual([])
})

test('until it is committed the file stands beside its name, with the machine and the process in its own', async () => {
  const folder = temporaryFolder()
  const file = await AtomicFile.create(join(folder, 'a'))
  await file.append(Buffer.from('text'))
  expect(await readdir(folder)).toEqual([`a.${hostname()}.tmp-${process.pid}`])
  await expect(AtomicFile.create(join(folder, 'a'))).rejects.toThrow(/already being written/)
  await file.commit()
  expect(await readdir(folder)).toEqual(['a'])
  await expect(file.append(Buffer.from('more'))).rejects.toThrow(/is closed/)
  await file.abort()
  expect(await readFile(join(folder, 'a'), 'utf8')).toBe('text')
})

describe('what a killed process was writing goes when another writes in its folder', () => {
  const dead = spawnSync(process.execPath, ['--version']).pid
  const here = hostname()

  test.each([
    ['the same file', `a.${here}.tmp-${dead}`, false],
    ['another file', `all.npz.${here}.tmp-${dead}`, false],
    ['of a process that runs', `a.${here}.tmp-${process.ppid}`, true],
    ['of a process that runs and is not ours', `a.${here}.tmp-1`, true],
    ['of another machine', `a.not-${here}.tmp-${dead}`, true],
    ['of a longer name', `a.${here}.tmp-${dead}.png`, true],
    ['by no process', `a.${here}.tmp-`, true],
  ])('%s: %s', async (_, name, stays) => {
    const folder = temporaryFolder()
    await writeFile(join(folder, name), 'half')
    await writeWhole(join(folder, 'a'), 'whole')
    expect((await readdir(folder)).sort()).toEqual(stays ? ['a', name].sort() : ['a'])
  })

  test('of every machine, for who has the folder to himself', async () => {
    const folder = temporaryFolder()
    const [running, ofOthers] = [`a.${here}.tmp-${process.ppid}`, ['a.tmp-1', `a.not-${here}.tmp-${process.ppid}`]]
    const names = [running, ...ofOthers, `a.${here}.tmp-${dead}`, 'a', 'a.tmp-', `a.tmp-${dead}.png`]
    for (const name of names) await writeFile(join(folder, name), '')
    await removeLeftovers(folder)
    expect((await readdir(folder)).sort()).toEqual([running, ...ofOthers, 'a', 'a.tmp-', `a.tmp-${dead}.png`].sort())
    await removeLeftovers(folder, { ofOtherMachines: true })
    expect((await readdir(folder)).sort()).toEqual([running, 'a', 'a.tmp-', `a.tmp-${dead}.png`].sort())
  })

  test('one that cannot be removed is no reason not to write', async () => {
    const folder = temporaryFolder()
    const name = `a.${here}.tmp-${dead}`
    await mkdir(join(folder, name))
    await writeWhole(join(folder, 'a'), 'whole')
    expect(await readFile(join(folder, 'a'), 'utf8')).toBe('whole')
  })

  test('many files in a folder cost one look through it', async () => {
    const folder = temporaryFolder()
    await writeWhole(join(folder, 'a'), 'whole')
    await writeFile(join(folder, `a.${here}.tmp-${dead}`), 'half')
    await Promise.all(['b', 'c'].map((name) => writeWhole(join(folder, name), 'whole')))
    expect((await readdir(folder)).sort()).toEqual(['a', `a.${here}.tmp-${dead}`, 'b', 'c'])
  })
})

test('pieces of every size, gaps, and writing over what was appended', async () => {
  const path = join(temporaryFolder(), 'a')
  const file = await AtomicFile.create(path)
  const sizes = [0, 1, 100_000, 262_144, 262_143, 2, 600_000, 5, 262_145, 0, 7]
  const expected: Buffer[] = [Buffer.alloc(10)]
  await file.skip(10)
  for (const [i, size] of sizes.entries()) {
    expected.push(Buffer.alloc(size, i + 1))
    await file.append(expected.at(-1)!)
  }
  const whole = Buffer.concat(expected)
  const patch = Buffer.from('patch')
  for (const at of [0, 5, 11, 262_140, whole.length - 9, whole.length - 5, whole.length - 300_000]) {
    await file.writeAt(patch, at)
    patch.copy(whole, at)
  }
  await expect(file.writeAt(patch, whole.length - 4)).rejects.toThrow(/nothing was appended there/)
  expect(file.position).toBe(whole.length)
  await file.commit()
  expect((await readFile(path)).equals(whole)).toBe(true)
})

// A symbolic link takes a privilege on Windows, and a named pipe is none of its files.
describe.skipIf(process.platform === 'win32')('a name of what is no file itself', () => {
  const write = (path: string) => writeAtomically(path, {}, (file) => file.append(Buffer.from('new')))

  /** The links as [name, what it says], what stands under the end of them before, and where that is. */
  const chains: [string, [name: string, to: string][], before: string | undefined, end: string][] = [
    ['a file', [['link', 'end']], 'old', 'end'],
    ['nothing yet', [['link', 'end']], undefined, 'end'],
    ['a file of another folder', [['link', 'folder/end']], 'old', 'folder/end'],
    ['nothing yet of another folder', [['link', 'folder/end']], undefined, 'folder/end'],
    [
      'a link to a file',
      [
        ['link', 'folder/second'],
        ['folder/second', '../end'],
      ],
      'old',
      'end',
    ],
    [
      'a link to nothing yet',
      [
        ['link', 'folder/second'],
        ['folder/second', '../end'],
      ],
      undefined,
      'end',
    ],
    // The folder above a linked folder is that of its target: the path without its dots would be another.
    [
      'nothing yet above a linked folder',
      [
        ['way', 'folder/deep'],
        ['link', 'way/../end'],
      ],
      undefined,
      'folder/end',
    ],
  ]

  test.each(chains)('a link to %s stays one, and its end has the bytes', async (_, links, before, end) => {
    for (const write of [
      (path: string) => writeWhole(path, 'new'),
      (path: string) => writeAtomically(path, { fsync: true }, (file) => file.append(Buffer.from('new'))),
    ]) {
      const folder = temporaryFolder()
      await mkdir(join(folder, 'folder/deep'), { recursive: true })
      for (const [name, to] of links) await symlink(to, join(folder, name))
      if (before !== undefined) await writeFile(join(folder, end), before)
      await write(join(folder, 'link'))
      for (const [name, to] of links) expect(await readlink(join(folder, name))).toBe(to)
      expect((await lstat(join(folder, end))).isFile()).toBe(true)
      expect(await readFile(join(folder, end), 'utf8')).toBe('new')
      const left = await readdir(folder, { recursive: true })
      expect(left.sort()).toEqual([...new Set(['folder', 'folder/deep', end, ...links.map(([name]) => name)])].sort())
    }
  })

  test('until it is committed the file stands beside the end of the link', async () => {
    const folder = temporaryFolder()
    await mkdir(join(folder, 'folder'))
    await symlink('folder/end', join(folder, 'link'))
    const file = await AtomicFile.create(join(folder, 'link'))
    expect(await readdir(join(folder, 'folder'))).toEqual([`end.${hostname()}.tmp-${process.pid}`])
    await expect(AtomicFile.create(join(folder, 'folder/end'))).rejects.toThrow(/already being written/)
    await file.abort()
    expect(await readdir(folder, { recursive: true })).toEqual(['folder', 'link'])
  })

  test.each([
    ['a folder that is not there', 'missing/end', /the folder that it is to lie in is not there/],
    ['itself', 'link', /ELOOP/],
    ['a folder', '.', /it is a folder, and a file is wanted \(EISDIR\)/],
  ])('a link to %s: a clear error', async (_, to, message) => {
    const folder = temporaryFolder()
    await symlink(to, join(folder, 'link'))
    await expect(write(join(folder, 'link'))).rejects.toThrow(FileAccessError)
    await expect(write(join(folder, 'link'))).rejects.toThrow(message)
    expect(await readdir(folder)).toEqual(['link'])
  })

  test.each(['pipe', 'link'])('a pipe is not replaced by a file: %s', async (name) => {
    const folder = temporaryFolder()
    execFileSync('mkfifo', [join(folder, 'pipe')])
    await symlink('pipe', join(folder, 'link'))
    const writing = write(join(folder, name))
    await expect(writing).rejects.toThrow(FileAccessError)
    await expect(writing).rejects.toThrow(
      `Cannot write ${join(folder, name)}: it is a device or a pipe, and would be replaced; name a file.`,
    )
    expect((await lstat(join(folder, 'pipe'))).isFIFO()).toBe(true)
    expect((await readdir(folder)).sort()).toEqual(['link', 'pipe'])
  })

  test.each(['pipe', 'link'])('what is whole in memory goes into a pipe: %s', async (name) => {
    const folder = temporaryFolder()
    execFileSync('mkfifo', [join(folder, 'pipe')])
    await symlink('pipe', join(folder, 'link'))
    const [text] = await Promise.all([readFile(join(folder, 'pipe'), 'utf8'), writeWhole(join(folder, name), 'whole')])
    expect(text).toBe('whole')
    expect((await lstat(join(folder, 'pipe'))).isFIFO()).toBe(true)
  })
})

// The kernel's own folders are of the file systems that cannot sync one, as are some of a network.
test.skipIf(!existsSync('/proc/self'))(
  'a folder that cannot be synced is no failure; one that is not there is',
  async () => {
    await expect(nodeFileSystem.syncDirectory('/proc/self')).resolves.toBeUndefined()
    await expect(nodeFileSystem.syncDirectory('/nowhere/at/all')).rejects.toThrow('ENOENT')
  },
)
