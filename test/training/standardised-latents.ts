/** Latents without images, and autoencoders, with statistics and without. */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type LatentStatistics, writeStatistics } from '../../src/formats/latent-statistics.ts'
import { writeSafetensors } from '../../src/formats/safetensors-writer.ts'
import { AutoencoderKL, autoencoderKLConfigSchema } from '../../src/models/autoencoder-kl.ts'
import { latentShardFiles } from '../data/latent-shard-files.ts'
import { randomState } from '../models/random-state.ts'
import { temporaryFolder } from '../temporary-folder.ts'

export const CHANNELS = 6
export const ONE = { mean: new Float32Array(CHANNELS).fill(0.25), std: new Float32Array(CHANNELS).fill(2) }
export const OTHER = { ...ONE, std: ONE.std.with(3, 1) }

/** The folder of a data set of latents without images. */
export async function latentsWith(statistics: LatentStatistics | undefined, channels = CHANNELS): Promise<string> {
  const folder = await latentShardFiles({ shape: [channels, 2, 2] })
  if (statistics) await writeStatistics(join(folder, 'latents_stats.safetensors'), statistics)
  return folder
}

/** `scale`: what its config.json says, where it has no statistics. Its latents have half the side for each block but the first. */
export async function autoencoderWith(
  statistics: LatentStatistics | undefined,
  scale = 1,
  blocks = 1,
): Promise<string> {
  const folder = temporaryFolder()
  const blockChannels = Array<number>(blocks).fill(32)
  const config = autoencoderKLConfigSchema.parse({ blockChannels, layersPerBlock: 1, latentChannels: CHANNELS })
  using model = AutoencoderKL.fromConfig(config, 'cpu')
  const tensors = [...randomState(model)].map(([name, tensor]) => ({ name, ...tensor }))
  await writeSafetensors(join(folder, 'vae.safetensors'), tensors)
  if (statistics) await writeStatistics(join(folder, 'latents_stats.safetensors'), statistics)
  else await writeFile(join(folder, 'config.json'), JSON.stringify({ scaling_factor: scale }))
  return folder
}
