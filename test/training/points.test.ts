/** A data set of points, prepared or of LightningDiT's files, trains as one of the same means without deviations. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { Dataset } from '../../src/data/dataset.ts'
import type { FeatureStore } from '../../src/data/feature-store.ts'
import { writeSafetensors } from '../../src/formats/safetensors-writer.ts'
import { hostFloat32 } from '../../src/tensor/host-tensor.ts'
import type { Alignment } from '../../src/training/trainer-options.ts'
import { constantEncoder } from '../data/constant-encoder.ts'
import { stored, storedLabels } from '../data/latent-shard-files.ts'
import { tinyDataset } from '../data/tiny-dataset.ts'
import { writeNpy } from '../formats/write-npy.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { align, BATCH, digestOf, modelOf, steps, tinyTrainer } from './tiny-trainer.ts'

const SAMPLES = 2 * BATCH
/** An encoder that need not see images. */
const cached = { name: 'cached', width: 8, store: {} as FeatureStore }
const LATENT = 4 * 8 * 8

const latentOf = (i: number) => Float32Array.from({ length: LATENT }, (_, j) => Math.sin(3 * j + i))

/** The same latents without deviations: as points, or as moments whose deviations are 0. */
async function dataOf(kind: 'points' | 'moments'): Promise<string> {
  const root = await tinyDataset(SAMPLES)
  const channels = kind === 'points' ? 4 : 8
  for (let i = 0; i < SAMPLES; i++) {
    const values = new Float32Array(channels * 8 * 8)
    values.set(latentOf(i))
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

/** The same once more, in two files of different lengths. */
async function shards(): Promise<string> {
  const root = temporaryFolder()
  for (const [name, first, last] of [
    ['a', 0, 3],
    ['b', 3, SAMPLES],
  ] as const) {
    const numbers = Array.from({ length: last - first }, (_, i) => first + i)
    const values = Float32Array.from(numbers.flatMap((i) => [...latentOf(i)]))
    await writeSafetensors(join(root, `${name}.safetensors`), [
      stored('latents', values, [numbers.length, 4, 8, 8], 'f32'),
      storedLabels(numbers.map((i) => (4 * i) % 10)),
    ])
  }
  return root
}

async function trained(path: string) {
  using model = modelOf()
  await using trainer = await tinyTrainer(model, path, {})
  const losses = (await steps(trainer, 3)).map(({ loss }) => loss)
  return { losses, digest: await digestOf(trainer) }
}

test('training on points has the bits of training on moments without deviations', async () => {
  const all = { moments: await dataOf('moments'), points: await dataOf('points'), shards: await shards() }
  for (const [kind, path] of Object.entries(all)) {
    const latentKind = kind === 'moments' ? 'moments' : 'points'
    expect(await Dataset.open(path)).toMatchObject({ latentKind, latentShape: [4, 8, 8], latentScale: 1 })
  }
  const moments = await trained(all.moments)
  expect(await trained(all.points)).toEqual(moments)
  expect(await trained(all.shards)).toEqual(moments)
})

test.each<readonly [what: string, encoder: Alignment['encoder']]>([
  ['one', constantEncoder],
  ['one beside another, whose features are cached', [cached, constantEncoder]],
])('latents without images are trained on without encoders: %s', async (_, encoder) => {
  using model = modelOf()
  const data = await shards()
  await expect(tinyTrainer(model, data, { align: { ...align, encoder } })).rejects.toThrow(
    `The encoder constant sees images, and '${data}' holds latents without them; train without alignment by an encoder`,
  )
})
