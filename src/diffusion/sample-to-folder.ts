import { mkdir, readdir, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { imageGrid } from '../data/grid.ts'
import { encodePng } from '../data/png.ts'
import { ifThere } from '../formats/if-there.ts'
import { type NpzArrayWriter, NpzWriter } from '../formats/npz.ts'
import type { AnyTransformer } from '../models/transformer-kinds.ts'
import { randomUniform } from '../tensor/random.ts'
import {
  type BatchOptions,
  imageSizeOf,
  type SampledImages,
  type SamplingOptions,
  sampleImages,
} from './sample-images.ts'

interface FolderOptions {
  readonly folder: string
  readonly count: number
  /** Classes in turn; drawn uniformly for each image where not given. */
  readonly classes?: readonly number[]
  /** An ADM-style npz: `arr_0`, uint8 [count, H, W, 3]. */
  readonly npz?: string
  /** One picture of the images. */
  readonly grid?: string
  /** How many images the grid shows, the first ones. Default: all. */
  readonly gridCount?: number
  /** Images in a row of the grid. Default: about as many as rows. */
  readonly columns?: number
}

export type SampleToFolderOptions = SamplingOptions & Omit<BatchOptions, 'labels'> & FolderOptions

export interface SampleResult {
  readonly count: number
  readonly folder: string
  readonly labels: readonly number[]
  readonly npz: string | undefined
  readonly grid: string | undefined
}

/**
 * Samples images to `FOLDER/000000.png` and on; of a model of latents also the latents, `FOLDER/latents.npz` (`latents`, f64).
 *
 * @throws {Error} where the folder holds images of higher numbers, which an evaluation would take for this call's
 */
export async function sampleToFolder(model: AnyTransformer, options: SampleToFolderOptions): Promise<SampleResult> {
  const { folder, count, classes, npz, grid, gridCount = count, columns, ...sampling } = options
  await requireNoOthers(folder, count)
  const labels = await labelsFor(model, count, classes, options.seed)
  const isLatent = model.config.channels !== 3
  const [height, width] = imageSizeOf(model, options.autoencoder)
  const [latentHeight, latentWidth] = model.config.inputSize
  // All of them now: a missing folder must not cost the images that were drawn.
  const files = [npz, grid].filter((file) => file !== undefined)
  for (const path of [folder, ...files.map((file) => dirname(file))]) await mkdir(path, { recursive: true })
  const images = npz === undefined ? undefined : await ArrayFile.create(npz, 'arr_0', 'u8', [count, height, width, 3])
  const latents = isLatent
    ? await ArrayFile.create(join(folder, 'latents.npz'), 'latents', 'f64', [
        count,
        model.config.channels,
        latentHeight,
        latentWidth,
      ])
    : undefined
  const shown: Uint8Array[] = []
  try {
    for await (const batch of sampleImages(model, { ...sampling, labels })) {
      await writeImages(folder, batch)
      await images?.append(batch.images)
      await latents?.append(new Uint8Array(batch.latents.buffer))
      const wanted = grid === undefined ? 0 : Math.max(0, gridCount - batch.first)
      if (wanted > 0) shown.push(batch.images.subarray(0, wanted * 3 * height * width))
    }
    await images?.close()
    await latents?.close()
  } catch (error) {
    await images?.abort()
    await latents?.abort()
    throw error
  }
  if (grid !== undefined) {
    const picture = imageGrid(
      Buffer.concat(shown),
      [Math.min(gridCount, count), height, width, 3],
      columns === undefined ? {} : { columns },
    )
    await writeFile(grid, encodePng(picture.data, picture.width, picture.height, 3))
  }
  return { count, folder, labels: [...labels], npz, grid }
}

/** One array in an npz file of its own. */
class ArrayFile {
  readonly #file: NpzWriter
  readonly #array: NpzArrayWriter

  private constructor(file: NpzWriter, array: NpzArrayWriter) {
    this.#file = file
    this.#array = array
  }

  static async create(path: string, name: string, dtype: 'u8' | 'f64', shape: readonly number[]): Promise<ArrayFile> {
    const file = await NpzWriter.create(path)
    try {
      return new ArrayFile(file, await file.open(name, dtype, shape))
    } catch (error) {
      await file.abort()
      throw error
    }
  }

  append(data: Uint8Array): Promise<void> {
    return this.#array.append(data)
  }

  async close(): Promise<void> {
    await this.#array.close()
    await this.#file.close()
  }

  abort(): Promise<void> {
    return this.#file.abort()
  }
}

const imageName = (number: number) => `${String(number).padStart(6, '0')}.png`

async function requireNoOthers(folder: string, count: number): Promise<void> {
  const names = (await ifThere(readdir(folder))) ?? []
  const [other] = names.filter((name) => /^\d{6,}\.png$/.test(name) && Number.parseInt(name, 10) >= count).sort()
  if (other === undefined) return
  throw new Error(
    `${folder} holds ${other}, an image of another call beyond the ${count} that are wanted; remove what is there, or choose another folder.`,
  )
}

/** Writes a batch's PNGs. */
async function writeImages(folder: string, { first, count, images, height, width }: SampledImages): Promise<void> {
  const length = height * width * 3
  for (let n = 0; n < count; n++) {
    const own = images.subarray(n * length, (n + 1) * length)
    await writeFile(join(folder, imageName(first + n)), encodePng(own, width, height, 3))
  }
}

async function labelsFor(
  model: AnyTransformer,
  count: number,
  classes: readonly number[] | undefined,
  seed: number,
): Promise<Int32Array> {
  const total = model.config.classes
  if (classes) {
    const wrong = classes.find((label) => !(label >= 0 && label < total))
    if (wrong !== undefined || classes.length === 0) {
      throw new RangeError(`There is no class ${wrong ?? '(none given)'}: the model has the classes 0 to ${total - 1}.`)
    }
    return Int32Array.from({ length: count }, (_, i) => classes[i % classes.length]!)
  }
  using uniform = randomUniform([count], { seed, stream: 'sampleLabels', step: 0 }, model.device)
  return Int32Array.from(await uniform.data(), (u) => Math.min(total - 1, Math.floor(u * total)))
}
