/**
 * Latents without images, as LightningDiT's code (arXiv 2501.01423) keeps them and publishes VA-VAE's of ImageNet: safetensors files in a
 * folder, each with `latents` [n, C, h, w], drawn from the posteriors, those of the mirror images as `latents_flip`, and `labels` [n]; beside
 * them latents_stats.pt with the `mean` and `std` [1, C, 1, 1] by which they are standardised when they are read.
 */
import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { ifThere } from '../formats/if-there.ts'
import { type LatentStatistics, STATISTICS_FILES, statisticsIn } from '../formats/latent-statistics.ts'
import { RandomAccessFile } from '../formats/random-access-file.ts'
import { SafetensorsFile } from '../formats/safetensors.ts'
import { DTYPE_BYTES, type DType, elementCount } from '../tensor/dtype.ts'
import { elementAt, type HostTensor, toFloat32 } from '../tensor/host-tensor.ts'

const STATISTICS: ReadonlySet<string> = new Set(STATISTICS_FILES)
/** Of the images as they are, and mirrored. */
const TENSORS = { plain: 'latents', flipped: 'latents_flip' } as const

interface Shard {
  readonly path: string
  /** Index of its first latent. */
  readonly begin: number
  readonly dtype: DType
  /** Where the latents of each kind begin in the file. */
  readonly offsets: Readonly<Record<keyof typeof TENSORS, number | undefined>>
}

export class LatentShards {
  readonly path: string
  /** [C, h, w]. */
  readonly shape: readonly [number, number, number]
  readonly labels: Int32Array
  /** Whether all have the mirror images' latents too. */
  readonly flip: boolean
  /** By which the latents are standardised as they are read; undefined: they are as the files have them. */
  readonly statistics: LatentStatistics | undefined
  readonly #shards: readonly Shard[]

  private constructor(
    path: string,
    shape: readonly [number, number, number],
    labels: Int32Array,
    shards: readonly Shard[],
    statistics: LatentStatistics | undefined,
  ) {
    this.path = path
    this.shape = shape
    this.labels = labels
    this.flip = shards.every(({ offsets }) => offsets.flipped !== undefined)
    this.#shards = shards
    this.statistics = statistics
  }

  /** The shards of a folder, in the order of their names; undefined where it has none. */
  static async namesIn(folder: string): Promise<readonly string[] | undefined> {
    // A file is told that it is no data set, like a folder without one.
    const isFolder = (await ifThere(stat(folder)))?.isDirectory()
    const names = (isFolder ? await readdir(folder) : []).filter(
      (name) => name.endsWith('.safetensors') && !name.startsWith('.') && !STATISTICS.has(name),
    )
    return names.length > 0 ? names.sort() : undefined
  }

  /** @throws {Error} where a file has not these tensors, or they are not of the same shape in all */
  static async open(folder: string, names: readonly string[]): Promise<LatentShards> {
    const shards: Shard[] = []
    const labels: number[] = []
    let shape: readonly number[] | undefined
    for (const name of names) {
      await using file = await openShard(join(folder, name))
      shape ??= file.shape
      if (String(file.shape) !== String(shape)) {
        throw new Error(`${file.path} has latents of [${file.shape}], those before it [${shape}]; expected one shape.`)
      }
      shards.push({ path: file.path, begin: labels.length, dtype: file.dtype, offsets: file.offsets })
      for (const label of await file.labels()) labels.push(label)
    }
    const size = shape as [number, number, number]
    return new LatentShards(folder, size, Int32Array.from(labels), shards, await statisticsIn(folder, size[0]))
  }

  /** Reads one latent, or its mirror image's, [C, h, w]. */
  async readInto(index: number, flipped: boolean, out: Float32Array): Promise<void> {
    const shard = this.#shards.findLast(({ begin }) => begin <= index)!
    const bytes = elementCount(this.shape) * DTYPE_BYTES[shard.dtype]
    const data = new Uint8Array(bytes)
    const file = await RandomAccessFile.open(shard.path)
    try {
      const offset = shard.offsets[flipped ? 'flipped' : 'plain']!
      await file.readInto(data, offset + (index - shard.begin) * bytes)
    } finally {
      await file.close()
    }
    out.set(toFloat32({ dtype: shard.dtype, shape: this.shape, data }))
    if (this.statistics) standardize(out, this.statistics)
  }
}

/** In place, each operation rounded to float32 as the code's tensors are. */
function standardize(latent: Float32Array, { mean, std }: LatentStatistics): void {
  const pixels = latent.length / mean.length
  for (const [channel, centre] of mean.entries()) {
    const deviation = std[channel]!
    for (let i = channel * pixels, end = i + pixels; i < end; i++)
      latent[i] = Math.fround(latent[i]! - centre) / deviation
  }
}

async function openShard(path: string) {
  const file = await SafetensorsFile.open(path)
  try {
    const [latents, labels] = [file.tensors.get(TENSORS.plain), file.tensors.get('labels')]
    const [count, ...shape] = latents?.shape ?? []
    const isFloat = latents && ['f32', 'f16', 'bf16'].includes(latents.dtype)
    const flipped = file.tensors.get(TENSORS.flipped)
    if (!isFloat || shape.length !== 3 || String(labels?.shape) !== String(count)) {
      const shown = [...file.tensors].slice(0, 4).map(([name, { dtype, shape }]) => `${name} ${dtype} [${shape}]`)
      const found = [...shown, ...(file.tensors.size > 4 ? [`… (${file.tensors.size} tensors)`] : [])].join(', ')
      throw new Error(
        `${path} is no shard of latents: expected latents [n, C, h, w], of f32, f16 or bf16, and labels [n]; it has ${found || 'nothing'}.`,
      )
    }
    if (flipped && (flipped.dtype !== latents.dtype || String(flipped.shape) !== String(latents.shape))) {
      throw new Error(
        `${path}: latents_flip is ${flipped.dtype} of shape [${flipped.shape}], latents ${latents.dtype} of [${latents.shape}]; expected the same.`,
      )
    }
    return {
      path,
      shape: shape as [number, number, number],
      dtype: latents.dtype,
      offsets: { plain: file.offsetOf(TENSORS.plain), flipped: flipped && file.offsetOf(TENSORS.flipped) },
      labels: async () => labelsOf(path, await file.read('labels')),
      [Symbol.asyncDispose]: () => file.close(),
    }
  } catch (error) {
    await file.close()
    throw error
  }
}

function labelsOf(path: string, labels: HostTensor): number[] {
  return Array.from({ length: labels.shape[0]! }, (_, i) => {
    const label = elementAt(labels, i)
    if (Number.isInteger(label) && label >= 0 && label < 2 ** 31) return label
    throw new Error(`${path}: label ${i} is ${label}; expected a whole number of at least 0.`)
  })
}
