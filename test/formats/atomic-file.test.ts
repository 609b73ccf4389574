import { existsSync } from 'node:fs'
import { readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { AtomicFile, type AtomicWriteOptions, nodeFileSystem } from '../../src/formats/atomic-file.ts'
import { FileAccessError } from '../../src/formats/errors.ts'
import { writeNpy } from '../../src/formats/npy.ts'
import { NpzWriter } from '../../src/formats/npz.ts'
import { writeSafetensors } from '../../src/formats/safetensors-writer.ts'
import { writeTorchCheckpoint } from '../../src/formats/torch-checkpoint-writer.ts'
import { failingFileSystem } from './failing-file-system.ts'
import { temporaryFolder } from './temporary-folder.ts'
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
  ['npy', (path, options) => writeNpy(path, tensor, options)],
  ['npz', writeNpz],
]

describe.each(writers)('%s', (_, write) => {
  test.each([
    ['ENOSPC', /Cannot write .*weights\.bin: the disk is full; free some space and try again \(ENOSPC\)\./],
    ['EDQUOT', /Cannot write .*weights\.bin: the disk quota is used up \(EDQUOT\)\./],
    ['EMFILE', /Cannot write .*weights\.bin: this process has too many files open; raise the limit \(ulimit -n\)/],
    ['EIO', /Cannot write .*weights\.bin: the disk reported an input\/output error \(EIO\)\./],
    ['ENOTKNOWN', /Cannot write .*weights\.bin: ENOTKNOWN: refused\./],
  ])('%s at any point: a clear error, the old file as it was, nothing beside it', async (code, message) => {
    const folder = await temporaryFolder()
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
    const path = join(await temporaryFolder(), 'missing', 'weights.bin')
    await expect(write(path, {})).rejects.toThrow(
      /Cannot write .*weights\.bin: the folder that it is to lie in is not there; make it/,
    )
  })
})

test('a failing rename leaves nothing behind', async () => {
  const folder = await temporaryFolder()
  const base = failingFileSystem('EIO', Number.POSITIVE_INFINITY)
  const fileSystem = { ...base, rename: () => Promise.reject(Object.assign(new Error('no'), { code: 'EROFS' })) }
  await expect(writeNpy(join(folder, 'a.npy'), tensor, { fileSystem })).rejects.toThrow(/read-only \(EROFS\)/)
  expect(await readdir(folder)).toEqual([])
})

test('until it is committed the file stands beside its name, with the process in its own', async () => {
  const folder = await temporaryFolder()
  const file = await AtomicFile.create(join(folder, 'a'))
  await file.append(Buffer.from('text'))
  expect(await readdir(folder)).toEqual([`a.tmp-${process.pid}`])
  await expect(AtomicFile.create(join(folder, 'a'))).rejects.toThrow(/already being written/)
  await file.commit()
  expect(await readdir(folder)).toEqual(['a'])
  await expect(file.append(Buffer.from('more'))).rejects.toThrow(/is closed/)
  await file.abort()
  expect(await readFile(join(folder, 'a'), 'utf8')).toBe('text')
})

test('pieces of every size, gaps, and writing over what was appended', async () => {
  const path = join(await temporaryFolder(), 'a')
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

// The kernel's own folders are of the file systems that cannot sync one, as are some of a network.
test.skipIf(!existsSync('/proc/self'))(
  'a folder that cannot be synced is no failure; one that is not there is',
  async () => {
    await expect(nodeFileSystem.syncDirectory('/proc/self')).resolves.toBeUndefined()
    await expect(nodeFileSystem.syncDirectory('/nowhere/at/all')).rejects.toThrow('ENOENT')
  },
)
