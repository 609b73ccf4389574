/** A prepared set of which somebody has removed a part that its dataset-info.json speaks of. */
import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { type PrepareOptions, prepareDataset } from '../../src/data/prepare.ts'
import { folderDigest } from './folder-digest.ts'
import { blockMoments, pictures, setup, tokenMeans } from './preparing.ts'

const ALL = { latents: blockMoments, features: [tokenMeans], flip: true } satisfies Partial<PrepareOptions>

test.each(['vae-sd', 'features/token-means'])('what was in %s is made anew where that was removed', async (gone) => {
  const options = setup(pictures(3), { ...ALL, flip: false })
  const info = await prepareDataset(options)
  const whole = folderDigest(options.out)
  rmSync(join(options.out, gone), { recursive: true })
  expect(await prepareDataset(options)).toEqual(info)
  expect(folderDigest(options.out)).toEqual(whole)
})

test.each(['images', 'vae-sd-flip'])('a set without its %s is not whole', async (gone) => {
  const options = setup(pictures(3), ALL)
  await prepareDataset(options)
  rmSync(join(options.out, gone), { recursive: true })
  await expect(prepareDataset(options)).rejects.toThrow(
    `'${options.out}' has no folder '${gone}', of which its dataset-info.json speaks`,
  )
})
