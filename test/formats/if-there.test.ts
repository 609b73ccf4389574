import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { ifThere } from '../../src/formats/if-there.ts'
import { temporaryFolder } from './temporary-folder.ts'

test('what is not there is undefined, and every other failure is thrown', async () => {
  const folder = await temporaryFolder()
  expect(await ifThere(readdir(folder))).toEqual([])
  expect(await ifThere(readFile(join(folder, 'none'), 'utf8'))).toBeUndefined()
  await expect(ifThere(readFile(folder, 'utf8'))).rejects.toMatchObject({ code: 'EISDIR' })
})
