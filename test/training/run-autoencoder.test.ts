/** The autoencoder that a run decodes its samples with is one of latents as its data has them. */
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { Dataset } from '../../src/data/dataset.ts'
import { type LatentStatistics, writeStatistics } from '../../src/formats/latent-statistics.ts'
import { writeSafetensors } from '../../src/formats/safetensors-writer.ts'
import { AutoencoderKL, autoencoderKLConfigSchema } from '../../src/models/autoencoder-kl.ts'
import { trainingSchema } from '../../src/training/configuration.ts'
import { openAutoencoder } from '../../src/training/run-autoencoder.ts'
import { latentShardFiles } from '../data/latent-shard-files.ts'
import { temporaryFolder } from '../data/temporary-folder.ts'
import { randomState } from '../models/random-state.ts'

const CHANNELS = 6
const ONE = { mean: new Float32Array(CHANNELS).fill(0.25), std: new Float32Array(CHANNELS).fill(2) }
const OTHER = { ...ONE, std: ONE.std.with(3, 1) }

async function dataWith(statistics: LatentStatistics | undefined, channels = CHANNELS): Promise<Dataset> {
  const folder = await latentShardFiles({ shape: [channels, 2, 2] })
  if (statistics) await writeStatistics(join(folder, 'latents_stats.safetensors'), statistics)
  return await Dataset.open(folder)
}

async function autoencoderWith(statistics: LatentStatistics | undefined): Promise<string> {
  const folder = temporaryFolder()
  const config = autoencoderKLConfigSchema.parse({ blockChannels: [32], layersPerBlock: 1, latentChannels: CHANNELS })
  using model = AutoencoderKL.fromConfig(config, 'cpu')
  const tensors = [...randomState(model)].map(([name, tensor]) => ({ name, ...tensor }))
  const scaled = { metadata: { config: JSON.stringify({ scaling_factor: 0.5 }) } }
  await writeSafetensors(join(folder, 'vae.safetensors'), tensors, statistics ? {} : scaled)
  if (statistics) await writeStatistics(join(folder, 'latents_stats.safetensors'), statistics)
  return folder
}

async function opened(data: Dataset, autoencoder: string) {
  const configuration = trainingSchema.parse({ autoencoder })
  return await openAutoencoder(configuration, data, { device: 'cpu' })
}

test.each([
  ['the same statistics', ONE, ONE],
  ['no statistics of the data', undefined, ONE],
  ['no statistics at all', undefined, undefined],
])('%s: it decodes', async (_, ofData, own) => {
  using autoencoder = await opened(await dataWith(ofData), await autoencoderWith(own))
  expect(autoencoder!.latentChannels).toBe(CHANNELS)
})

test.each([
  [
    'other statistics',
    ONE,
    OTHER,
    'by another; name the one that made them, with a copy of that file beside its weights.',
  ],
  [
    'statistics of the data alone',
    ONE,
    undefined,
    'by none; name the one that made them, with a copy of that file beside its weights.',
  ],
])('%s are refused', async (_, ofData, own, message) => {
  await expect(opened(await dataWith(ofData), await autoencoderWith(own))).rejects.toThrow(message)
})

test('one of other channels is refused', async () => {
  await expect(opened(await dataWith(undefined, 4), await autoencoderWith(ONE))).rejects.toThrow(
    'are latents of 4 channels; the autoencoder',
  )
})
