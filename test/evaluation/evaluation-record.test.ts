import { mkdtemp, readdir, readFile, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { writeRecord } from '../../src/evaluation/evaluation-record.ts'

let directory: string
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'repa-record-'))
})
afterEach(() => rm(directory, { recursive: true }))

test('a record takes the place of another in one step', async () => {
  const folder = join(directory, 'run/evaluation')
  const path = join(folder, 'fid.json')
  await writeRecord(path, { fid: 8 })
  const { ino } = await stat(path)
  await writeRecord(path, { fid: 7 })
  expect(JSON.parse(await readFile(path, 'utf8'))).toEqual({ fid: 7 })
  // Another file under its name: the first was never open for writing again.
  expect((await stat(path)).ino).not.toBe(ino)
  expect(await readdir(folder)).toEqual(['fid.json'])
})
