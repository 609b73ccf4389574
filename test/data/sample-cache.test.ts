import { expect, test } from 'vitest'
import { Dataset } from '../../src/data/dataset.ts'
import { SampleCache } from '../../src/data/sample-cache.ts'
import { latentShardFiles } from './latent-shard-files.ts'

/** Of five samples: eight floats each, and a byte that says whether they have been read. */
const PLAIN = 5 * (8 * 4 + 1)

test.each([
  { flip: false, bytes: PLAIN },
  { flip: true, bytes: 2 * PLAIN },
])('what a cache may come to hold decides whether there is one, with mirror images: $flip', async ({ flip, bytes }) => {
  const dataset = await Dataset.open(await latentShardFiles({ flip }))
  const wanted = { images: false, latents: true }
  expect(SampleCache.create(dataset, wanted, bytes)).toBeDefined()
  expect(SampleCache.create(dataset, wanted, bytes - 1)).toBeUndefined()
})
