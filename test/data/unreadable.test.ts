import { symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { Dataset } from '../../src/data/dataset.ts'
import { openImageSource } from '../../src/data/image-sources.ts'
import { temporaryFolder } from '../temporary-folder.ts'

/** What nobody can look at, root included: a link to itself. A folder without permissions is such to others. */
function closed(): string {
  const path = join(temporaryFolder(), 'closed')
  symlinkSync('closed', path)
  return path
}

test.each<[string, (path: string) => Promise<unknown>]>([
  ['a data set', (path) => Dataset.open(path)],
  ['images', (path) => openImageSource(path)],
  ['shards', (path) => openImageSource([`${path}/0.tar`, `${path}/1.tar`])],
])('%s that cannot be looked at is not said to be missing', async (_, open) => {
  await expect(open(closed())).rejects.toMatchObject({ code: 'ELOOP' })
})
