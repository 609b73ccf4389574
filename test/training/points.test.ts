/** A data set of points trains as one of the same means without deviations. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { Dataset } from '../../src/data/dataset.ts'
import { writeNpy } from '../../src/formats/npy.ts'
import { hostFloat32 } from '../../src/tensor/host-tensor.ts'
import { tinyDataset } from '../data/tiny-dataset.ts'
import { BATCH, digestOf, modelOf, steps, tinyTrainer } from './tiny-trainer.ts'

const SAMPLES = 2 * BATCH
const LATENT = 4 * 8 * 8

/** The same latents without deviations: as points, or as moments whose deviations are 0. */
async function dataOf(kind: 'points' | 'moments'): Promise<string> {
  const root = await tinyDataset(SAMPLES)
  const channels = kind === 'points' ? 4 : 8
  for (let i = 0; i < SAMPLES; i++) {
    const values = new Float32Array(channels * 8 * 8)
    values.set(Float32Array.from({ length: LATENT }, (_, j) => Math.sin(3 * j + i)))
    const name = `vae-sd/00000/img-mean-std-${String(i).padStart(8, '0')}.npy`
    await writeNpy(join(root, name), hostFloat32(values, [channels, 8, 8]))
  }
  const latents = { encoder: 'any', shape: [channels, 8, 8], scale: 1, ...(kind === 'points' && { deviations: false }) }
  const counts = { images: SAMPLES, classCounts: new Array(10).fill(0) }
  const rest = { skipped: [], ignored: { count: 0, names: [] }, notes: [], latents }
  writeFileSync(
    join(root, 'dataset-info.json'),
    JSON.stringify({ format: 'repa-native-dataset-1', source: 'elsewhere', ...counts, ...rest }),
  )
  return root
}

test('training on points has the bits of training on moments without deviations', async () => {
  const [points, moments] = await Promise.all(
    (['points', 'moments'] as const).map(async (kind) => {
      const data = await dataOf(kind)
      expect(await Dataset.open(data)).toMatchObject({ latentKind: kind, latentShape: [4, 8, 8], latentScale: 1 })
      using model = modelOf()
      await using trainer = await tinyTrainer(model, data, {})
      const losses = (await steps(trainer, 3)).map(({ loss }) => loss)
      return { losses, digest: await digestOf(trainer) }
    }),
  )
  expect(points).toEqual(moments)
})
