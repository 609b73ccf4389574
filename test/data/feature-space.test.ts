import { mkdirSync, truncateSync, writeFileSync } from 'node:fs'
import { statfs } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import type { FeatureSettings } from '../../src/data/dataset-info.ts'
import { announceFeatures } from '../../src/data/feature-space.ts'
import { temporaryFolder } from '../temporary-folder.ts'

const settings = (encoder: string): FeatureSettings => ({ encoder, grid: [1, 1], width: 1 })

test("what the encoder's own unfinished features take counts as free, what another's take does not", async () => {
  const out = temporaryFolder()
  const file = join(out, 'features/left/00000.safetensors.partial')
  mkdirSync(join(file, '..'), { recursive: true })
  writeFileSync(file, '')
  // A hole: it takes no room on the disk.
  truncateSync(file, 2 ** 40)
  const gigabytesFree = async (encoder: string): Promise<number> => {
    const sentence = await announceFeatures(out, [settings(encoder)], 1, false)
    return Number(/; ([\d.]+) GB are free there/.exec(sentence)?.[1])
  }
  const { bavail, bsize } = await statfs(out)
  const free = (bavail * bsize) / 1e9
  // Within half of the 1,100 GB that it is about: others write to the disk meanwhile.
  expect(Math.abs((await gigabytesFree('another')) - free)).toBeLessThan(550)
  expect(Math.abs((await gigabytesFree('left')) - free - 1100)).toBeLessThan(550)
})
