import { existsSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { FileAccessError } from '../../src/formats/errors.ts'
import { makeFolder } from '../../src/formats/make-folder.ts'
import { train } from '../../src/training/run.ts'
import { tinyDataset } from '../data/tiny-dataset.ts'
import { temporaryFolder } from './temporary-folder.ts'

test('a folder is made with those above it, and through a link that leads to one', async () => {
  const root = await temporaryFolder()
  await makeFolder(join(root, 'a/b'))
  await makeFolder(join(root, 'a/b'))
  mkdirSync(join(root, 'there'))
  symlinkSync('there', join(root, 'link'))
  await makeFolder(join(root, 'link'))
  await makeFolder(join(root, 'link/c'))
  expect([existsSync(join(root, 'a/b')), existsSync(join(root, 'there/c'))]).toEqual([true, true])
})

test('a link to nothing is named, and nothing is made', async () => {
  const root = await temporaryFolder()
  const path = join(root, 'out')
  symlinkSync('nowhere', path)
  const error = await makeFolder(path).catch((error: Error) => error)
  expect(error).toBeInstanceOf(FileAccessError)
  expect(error).toMatchObject({
    message: `${path} is a link to nowhere, where nothing is; make that folder, or choose another.`,
  })
  expect(readdirSync(root)).toEqual(['out'])
})

test('of a file it says what the system does', async () => {
  const path = join(await temporaryFolder(), 'out')
  writeFileSync(path, '')
  await expect(makeFolder(path)).rejects.toMatchObject({ code: 'EEXIST', path })
})

test('a run whose folder is a link to nothing says so', async () => {
  const out = join(await temporaryFolder(), 'out')
  symlinkSync('nowhere', out)
  const model = { kind: 'SiT', depth: 1, hidden: 32, heads: 2, patch: 4 } as const
  const call = { data: await tinyDataset(2), out, device: 'cpu', configuration: { model, batch: 2, steps: 1 } } as const
  await expect(train(call)).rejects.toThrow(`${out} is a link to nowhere, where nothing is`)
})
