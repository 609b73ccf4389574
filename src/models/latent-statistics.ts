/**
 * Mean and standard deviation of every channel of an autoencoder's latents, by which LightningDiT (arXiv 2501.01423) brings them to one
 * scale where Stable Diffusion has one factor for all. They belong to the autoencoder: latents are stored standardised, and what a model makes
 * is brought back before it is decoded.
 */
import { stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { ifThere, isThere } from '../formats/if-there.ts'
import { writeSafetensors } from '../formats/safetensors-writer.ts'
import { elementCount } from '../tensor/dtype.ts'
import { hostFloat32, toFloat32 } from '../tensor/host-tensor.ts'
import { openWeights, type WeightsFile } from './weights-file.ts'

export interface LatentStatistics {
  /** By channel. */
  readonly mean: Float32Array
  readonly std: Float32Array
}

/** As LightningDiT's code writes it: a dictionary of `mean` and `std`, [1, C, 1, 1] each. */
export const STATISTICS_FILES = ['latents_stats.pt', 'latents_stats.safetensors'] as const

/** The file of statistics that lies beside an autoencoder's weights, where one does. */
export async function statisticsFileBeside(weights: string): Promise<string | undefined> {
  for (const name of STATISTICS_FILES) {
    const path = join(dirname(weights), name)
    if (await isThere(path)) return path
  }
  return undefined
}

/**
 * The statistics that lie beside an autoencoder's weights, where some do.
 *
 * @throws {Error} where they are of another number of channels, or no statistics
 */
export async function statisticsBeside(weights: string, channels: number): Promise<LatentStatistics | undefined> {
  const path = await statisticsFileBeside(weights)
  if (path === undefined) return undefined
  await using file = await openWeights(path, [])
  return { mean: await vectorOf(file, 'mean', channels), std: await positiveOf(file, channels) }
}

/** Where statistics of an autoencoder, its file or its folder, are looked for and written. */
export async function statisticsPath(autoencoder: string): Promise<string> {
  const found = await ifThere(stat(autoencoder))
  const folder = found?.isDirectory() ? autoencoder : dirname(autoencoder)
  return join(folder, 'latents_stats.safetensors' satisfies (typeof STATISTICS_FILES)[number])
}

/** Writes them as a safetensors file, of the names and shapes that LightningDiT's code gives its own. */
export async function writeStatistics(
  path: string,
  { mean, std }: LatentStatistics,
  metadata: Readonly<Record<string, string>> = {},
): Promise<void> {
  const entry = (name: string, values: Float32Array) => ({ name, ...hostFloat32(values, [1, values.length, 1, 1]) })
  await writeSafetensors(path, [entry('mean', mean), entry('std', std)], { metadata })
}

async function vectorOf(file: WeightsFile, name: 'mean' | 'std', channels: number): Promise<Float32Array> {
  if (!file.names.includes(name)) {
    throw new Error(`${file.name} holds no statistics of latents: it has no tensor ${name}; expected mean and std.`)
  }
  const shape = file.shapeOf(name)
  if (elementCount(shape) !== channels) {
    throw new Error(
      `${file.name} is of latents of ${elementCount(shape)} channels, and the autoencoder beside it has ${channels}; ` +
        'give each autoencoder that has statistics a folder of its own.',
    )
  }
  const values = toFloat32(await file.read(name))
  if (values.every(Number.isFinite)) return values
  throw new Error(`${file.name}: ${name} is not finite.`)
}

async function positiveOf(file: WeightsFile, channels: number): Promise<Float32Array> {
  const std = await vectorOf(file, 'std', channels)
  const wrong = std.findIndex((value) => value <= 0)
  if (wrong < 0) return std
  throw new Error(`${file.name}: the standard deviation of channel ${wrong} is ${std[wrong]}; expected more than 0.`)
}
