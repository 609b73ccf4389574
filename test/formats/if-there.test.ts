import { readdir, readFile, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { ifThere, isThere } from '../../src/formats/if-there.ts'
import { temporaryFolder } from '../temporary-folder.ts'

test('what is not there is undefined, and every other failure is thrown', async () => {
  const folder = temporaryFolder()
  expect(await ifThere(readdir(folder))).toEqual([])
  expect(await ifThere(readFile(join(folder, 'none'), 'utf8'))).toBeUndefined()
  await expect(ifThere(readFile(folder, 'utf8'))).rejects.toMatchObject({ code: 'EISDIR' })
})

test('a path is there or not, and what cannot be looked at is neither', async () => {
  const folder = temporaryFolder()
  const at = (name: string) => join(folder, name)
  await writeFile(at('file'), '')
  await symlink('loop', at('loop'))
  expect(
    await Promise.all(['.', 'file', 'none', 'none/deeper', 'file/deeper'].map((name) => isThere(at(name)))),
  ).toEqual([true, true, false, false, false])
  // As a folder whose owner lets nobody look: root may, but the system does not follow this for anybody.
  await expect(isThere(at('loop'))).rejects.toMatchObject({ code: 'ELOOP' })
})
