import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { mkdir, readlink, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { expect, test } from 'vitest'
import { FileAccessError } from '../../src/formats/errors.ts'
import { type FolderFileSystem, makeFolder } from '../../src/formats/make-folder.ts'
import { train } from '../../src/training/run.ts'
import { tinyDataset } from '../data/tiny-dataset.ts'
import { temporaryFolder } from '../temporary-folder.ts'

test('a folder is made with those above it, and through a link that leads to one', async () => {
  const root = temporaryFolder()
  await makeFolder(join(root, 'a/b'))
  await makeFolder(join(root, 'a/b'))
  mkdirSync(join(root, 'there'))
  symlinkSync('there', join(root, 'link'))
  await makeFolder(join(root, 'link'))
  await makeFolder(join(root, 'link/c'))
  expect([existsSync(join(root, 'a/b')), existsSync(join(root, 'there/c'))]).toEqual([true, true])
})

test('a link to nothing is named, and nothing is made', async () => {
  const root = temporaryFolder()
  const path = join(root, 'out')
  symlinkSync('nowhere', path)
  const error = await makeFolder(path).catch((error: Error) => error)
  expect(error).toBeInstanceOf(FileAccessError)
  expect(error).toMatchObject({
    message: `${path} is a link to nowhere, where nothing is; make that folder, or choose another.`,
  })
  expect(readdirSync(root)).toEqual(['out'])
})

test('so is one on the way', async () => {
  const root = temporaryFolder()
  const link = join(root, 'link')
  symlinkSync('nowhere', link)
  await expect(makeFolder(join(link, 'a/b'))).rejects.toThrow(
    `${link} is a link to nowhere, where nothing is; make that folder, or choose another.`,
  )
  expect(readdirSync(root)).toEqual(['link'])
})

/** What a file system says when it refuses to make a folder. */
function refusal(code: string, path: string): Error {
  return Object.assign(new Error(`${code}: refused, mkdir '${path}'`), { code, path, syscall: 'mkdir' })
}

/** A file system that refuses with `code` to make a folder. */
function refusing(code: string): FolderFileSystem {
  return {
    async mkdir(path) {
      throw refusal(existsSync(path) ? 'EEXIST' : existsSync(dirname(path)) ? code : 'ENOENT', path)
    },
    readlink,
    stat,
  }
}

test.each(['EROFS', 'EDQUOT', 'EIO', 'EMLINK', 'ENOENT'])(
  'what the system says of the first that is missing: %s',
  async (code) => {
    const first = join(temporaryFolder(), 'a')
    for (const path of [first, join(first, 'b/c')]) {
      await expect(makeFolder(path, refusing(code))).rejects.toMatchObject({ code, path: first, syscall: 'mkdir' })
    }
  },
)

// As an automounter does; Node's recursive call asks again for ever.
test.runIf(process.platform === 'linux')(
  'where nothing can be made, the system says that nothing is there',
  async () => {
    await expect(makeFolder('/proc/nobody/a')).rejects.toMatchObject({ code: 'ENOENT', path: '/proc/nobody' })
  },
)

test('a folder that another makes meanwhile is none that cannot be made', async () => {
  const path = join(temporaryFolder(), 'a/b')
  const racing: FolderFileSystem = {
    async mkdir(path) {
      await mkdir(path)
      throw refusal('EEXIST', path)
    },
    readlink,
    stat,
  }
  await makeFolder(path, racing)
  expect(existsSync(path)).toBe(true)
})

test('one that may not be made, and is there, is as good', async () => {
  const path = temporaryFolder()
  const guarded: FolderFileSystem = { mkdir: async (path) => Promise.reject(refusal('EACCES', path)), readlink, stat }
  await makeFolder(path, guarded)
  await expect(makeFolder(join(path, 'a'), guarded)).rejects.toMatchObject({ code: 'EACCES', path: join(path, 'a') })
})

/** Runs a program where `ro/` of its folder cannot be written to, in a namespace of its own. */
function withReadOnly(folder: string, ...command: string[]) {
  const mounting = ['sh', '-c', 'mount -t tmpfs -o ro none ro && exec "$0" "$@"', ...command]
  return spawnSync('unshare', ['-Urm', ...mounting], { cwd: folder, encoding: 'utf8' })
}

test('a read-only file system is called one', async (context) => {
  const folder = temporaryFolder()
  mkdirSync(join(folder, 'ro'))
  context.skip(withReadOnly(folder, 'true').status !== 0, 'this user may not mount a file system')
  const program = join(import.meta.dirname, 'programs/making-folders.ts')
  const node = [process.execPath, '--import', join(import.meta.dirname, '../../scripts/run-typescript.mjs')]
  const { stdout, stderr } = withReadOnly(folder, ...node, program, 'ro/x', 'ro/y/z')
  expect(stderr).toBe('')
  expect(stdout).toBe(
    ['x', 'y'].map((name) => `ro/${name}: the file system is read-only; choose another place.\n`).join(''),
  )
})

test('of a file it says what the system does', async () => {
  const path = join(temporaryFolder(), 'out')
  writeFileSync(path, '')
  await expect(makeFolder(path)).rejects.toMatchObject({ code: 'EEXIST', path })
})

test('a run whose folder is a link to nothing says so', async () => {
  const out = join(temporaryFolder(), 'out')
  symlinkSync('nowhere', out)
  const model = { kind: 'SiT', depth: 1, hidden: 32, heads: 2, patch: 4 } as const
  const call = { data: await tinyDataset(2), out, device: 'cpu', configuration: { model, batch: 2, steps: 1 } } as const
  await expect(train(call)).rejects.toThrow(`${out} is a link to nowhere, where nothing is`)
})
