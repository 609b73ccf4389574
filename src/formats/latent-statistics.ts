/**
 * Mean and standard deviation of every channel of an autoencoder's latents, by which LightningDiT (arXiv 2501.01423) brings them to one
 * scale where Stable Diffusion has one factor for all. They belong to the autoencoder: latents are stored standardised, or are when they are
 * read, and what a model makes is brought back before it is decoded.
 */
import { stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { elementCount } from '../tensor/dtype.ts'
import { type HostTensor, hostFloat32, toFloat32 } from '../tensor/host-tensor.ts'
import { ifThere, isThere } from './if-there.ts'
import { SafetensorsFile } from './safetensors.ts'
import { writeSafetensors } from './safetensors-writer.ts'
import { TorchCheckpoint } from './torch-checkpoint.ts'

export interface LatentStatistics {
  /** By channel; of a RAE, whose file has other names, by channel and place. */
  readonly mean: Float32Array
  readonly std: Float32Array
}

/** As LightningDiT's code writes it: a dictionary of `mean` and `std`, [1, C, 1, 1] each. */
export const STATISTICS_FILES = ['latents_stats.pt', 'latents_stats.safetensors'] as const

/** The file of statistics in a folder of weights or of latents, where it has one. */
export async function statisticsFileIn(folder: string): Promise<string | undefined> {
  for (const name of STATISTICS_FILES) {
    const path = join(folder, name)
    if (await isThere(path)) return path
  }
  return undefined
}

/**
 * The statistics in a folder of weights or of latents, where it has some.
 *
 * @throws {Error} where they are of another number of channels, or no statistics
 */
export async function statisticsIn(folder: string, channels: number): Promise<LatentStatistics | undefined> {
  const path = await statisticsFileIn(folder)
  if (path === undefined) return undefined
  const tensors = await (path.endsWith('.pt') ? readTorch : readSafetensors)(path)
  return { mean: vectorOf(path, tensors, 'mean', channels), std: positiveOf(path, tensors, channels) }
}

/** Whether two mean the same scale. */
export function areSameStatistics(a: LatentStatistics | undefined, b: LatentStatistics | undefined): boolean {
  const same = (x: Float32Array, y: Float32Array) => x.length === y.length && x.every((value, i) => value === y[i])
  return a && b ? same(a.mean, b.mean) && same(a.std, b.std) : a === b
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

type Tensors = Readonly<Record<'mean' | 'std', HostTensor | undefined>>

async function readTorch(path: string): Promise<Tensors> {
  const file = await TorchCheckpoint.open(path)
  try {
    const tensors = file.stateDict([])
    const read = async (name: string) => {
      const tensor = tensors.get(name)
      return tensor && (await file.read(tensor))
    }
    return { mean: await read('mean'), std: await read('std') }
  } finally {
    await file.close()
  }
}

async function readSafetensors(path: string): Promise<Tensors> {
  await using file = await SafetensorsFile.open(path)
  const read = async (name: string) => (file.tensors.has(name) ? await file.read(name) : undefined)
  return { mean: await read('mean'), std: await read('std') }
}

function vectorOf(path: string, tensors: Tensors, name: 'mean' | 'std', channels: number): Float32Array {
  const tensor = tensors[name]
  if (!tensor)
    throw new Error(`${path} holds no statistics of latents: it has no tensor ${name}; expected mean and std.`)
  const count = elementCount(tensor.shape)
  if (count !== channels) {
    throw new Error(
      `${path} is of latents of ${count} channels, and what lies beside it of ${channels}; ` +
        'give each autoencoder that has statistics a folder of its own.',
    )
  }
  const values = toFloat32(tensor)
  if (values.every(Number.isFinite)) return values
  throw new Error(`${path}: ${name} is not finite.`)
}

function positiveOf(path: string, tensors: Tensors, channels: number): Float32Array {
  const std = vectorOf(path, tensors, 'std', channels)
  const wrong = std.findIndex((value) => value <= 0)
  if (wrong < 0) return std
  throw new Error(`${path}: the standard deviation of channel ${wrong} is ${std[wrong]}; expected more than 0.`)
}
