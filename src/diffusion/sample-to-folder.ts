import { readdir, readFile } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { ImageGrid } from '../data/grid.ts'
import { decodeImage } from '../data/image-decoding.ts'
import { oneAhead } from '../data/one-ahead.ts'
import { mapInOrder } from '../data/ordered-map.ts'
import { encodePngAside } from '../data/png.ts'
import { requireAlike } from '../distributed/require-alike.ts'
import { ALONE, type World } from '../distributed/world.ts'
import { writeWhole } from '../formats/atomic-file.ts'
import { FolderInUse } from '../formats/folder-in-use.ts'
import { ifThere } from '../formats/if-there.ts'
import { makeFolder } from '../formats/make-folder.ts'
import type { AnyTransformer } from '../models/transformer-kinds.ts'
import { randomUniform } from '../tensor/random.ts'
import {
  type BatchOptions,
  imageSizeOf,
  makesLatents,
  type Prompts,
  requirePromptEncoder,
  requireSampling,
  type SampledImages,
  type SamplingOptions,
  sampleImages,
} from './sample-images.ts'
import { createSampledArray, type SampledArray } from './sampled-array.ts'
import { requireFolder } from './sampler-options.ts'
import {
  digestOf,
  imageName,
  promptsPath,
  recordPath,
  removeSamplingRecord,
  type SamplingOrigin,
  samplingRecord,
  writePrompts,
  writeSamplingRecord,
} from './sampling-record.ts'

export type SampleToFolderOptions = SamplingOptions &
  Omit<BatchOptions, 'firstImage'> & {
    readonly folder: string
    readonly count: number
    /** Classes in turn; drawn uniformly for each image where not given. Of a model of classes. */
    readonly classes?: readonly number[] | undefined
    /** Of a model of text: captions in turn. */
    readonly prompts?: Prompts | undefined
    /** An ADM-style npz: `arr_0`, uint8 [count, H, W, 3]. */
    readonly npz?: string
    /** One picture of the images. */
    readonly grid?: string
    /** How many images the grid shows, the first ones. Default: all. */
    readonly gridCount?: number
    /** Images in a row of the grid. Default: about as many as rows. */
    readonly columns?: number
    /** The processes that share the images, on one file system. Default: this one alone. */
    readonly world?: World
    /** Where the model comes from, for the record beside the images. */
    readonly origin?: SamplingOrigin
  }

export interface SampleResult {
  readonly count: number
  readonly folder: string
  /** A class for each image; none of a model of text. */
  readonly labels: readonly number[]
  readonly npz: string | undefined
  readonly grid: string | undefined
}

/**
 * Samples images to `FOLDER/000000.png` and on; of a model of latents also the latents, `FOLDER/latents.npz` (`latents`, f64). How they
 * were made stands in `FOLDER/sampling.json`, and of an npz beside it, once all are there; of a model of text `FOLDER/prompts.txt` has the
 * caption of every image, a line each.
 *
 * @throws {ConfigurationError} for options that are none; {RangeError} for a class or a mode that the model has not, before a file is
 *   touched; {Error} where the folder holds images of higher numbers, which an evaluation would take for this call's, or a prompts.txt that
 *   is of no sampling, or another process of this machine samples into it; {FileAccessError} where the system refuses a file
 */
export async function sampleToFolder(model: AnyTransformer, options: SampleToFolderOptions): Promise<SampleResult> {
  const {
    folder,
    count,
    classes,
    prompts,
    npz,
    grid,
    gridCount,
    columns,
    world = ALONE,
    origin,
    seed,
    batch,
    autoencoder,
    onProgress,
    ...sampler
    // Of a program without types it may be missing.
  } = options ?? ({} as SampleToFolderOptions)
  requireFolder({
    folder,
    count,
    classes,
    prompts,
    npz,
    grid,
    gridCount,
    columns,
    world,
    origin,
    seed,
    batch,
    autoencoder,
    onProgress,
  })
  requireSampling(model, sampler)
  const conditions = prompts
    ? captionsFor(model, prompts, count, classes)
    : await labelsFor(model, count, classes, seed)
  await requireNoOthers(folder, count)
  const isLatent = makesLatents(model, autoencoder)
  const [height, width] = imageSizeOf(model, autoencoder)
  const [latentHeight, latentWidth] = model.config.inputSize
  const isLeader = world.rank === 0
  const inGrid = Math.min(gridCount ?? count, count)
  const picture = grid !== undefined && isLeader ? new ImageGrid(inGrid, height, width, { columns }) : undefined
  // All of them now: a missing folder must not cost the images that were drawn.
  const files = [npz, grid].filter((file) => file !== undefined)
  for (const path of [folder, ...files.map((file) => dirname(file))]) await makeFolder(path)
  await using _inUse = isLeader ? await FolderInUse.take(folder) : undefined
  if (isLeader) {
    // Another may have sampled here since, and ended.
    await requireNoOthers(folder, count)
    // Of images that are now replaced one by one.
    await removeSamplingRecord({ folder })
  }
  // Nobody writes there before it is theirs, nor another's images among them.
  await meetAlike(world, model, options)
  const arrays: [SampledArray, (batch: SampledImages) => Uint8Array][] = []
  try {
    if (npz !== undefined) {
      const shape = [count, height, width, 3]
      arrays.push([await createSampledArray(npz, { name: 'arr_0', dtype: 'u8', shape }, world), ({ images }) => images])
    }
    if (isLatent) {
      const shape = [count, model.config.channels, latentHeight, latentWidth]
      const array = { name: 'latents', dtype: 'f64', shape } as const
      const file = await createSampledArray(join(folder, 'latents.npz'), array, world)
      arrays.push([file, ({ latents }) => new Uint8Array(latents.buffer)])
    }
    const [begin, end] = [world.rank, world.rank + 1].map((part) => Math.floor((count * part) / world.size))
    const sampled = sampleImages(model, {
      ...sampler,
      seed,
      batch,
      autoencoder,
      ...(conditions instanceof Int32Array
        ? { labels: conditions.subarray(begin, end) }
        : { prompts: { ...prompts!, captions: conditions.slice(begin, end) } }),
      firstImage: begin!,
      // The others are about as far.
      ...(onProgress && { onProgress: (done) => onProgress(Math.min(count, done * world.size)) }),
    })
    // While the device makes the next batch: compressing a batch of large images takes as long as a fast sampler does.
    const written = oneAhead(sampled, async (batch) => {
      await writeImages(folder, batch)
      for (const [array, dataOf] of arrays) await array.append(dataOf(batch))
      for (let n = 0; n < batch.count && batch.first + n < inGrid; n++) picture?.put(batch.first + n, imageOf(batch, n))
    })
    for await (const _ of written);
    for (const [array] of arrays) await array.end()
    await world.meet()
    if (isLeader && npz !== undefined) await removeSamplingRecord({ file: npz })
    for (const [array] of arrays) await array.close()
  } catch (error) {
    // One that cannot be removed hides neither the others nor why.
    await Promise.allSettled(arrays.map(([array]) => array.abort()))
    throw error
  }
  if (isLeader) {
    const record = samplingRecord(model, options)
    if (!(conditions instanceof Int32Array)) await writePrompts(folder, conditions)
    await writeSamplingRecord({ folder }, record)
    if (npz !== undefined) await writeSamplingRecord({ file: npz }, record)
  }
  if (grid !== undefined && picture) {
    // Those of other processes are read back from their files.
    for (let n = Math.floor(count / world.size); n < inGrid; n++) {
      const path = join(folder, imageName(n))
      picture.put(n, (await decodeImage(await readFile(path), path)).data)
    }
    const { data, ...size } = picture.image
    await writeWhole(grid, await encodePngAside(data, size.width, size.height, 3))
  }
  return { count, folder, labels: conditions instanceof Int32Array ? [...conditions] : [], npz, grid }
}

/** Of a list, as many as a sentence has room for; of more their digest stands for them. */
const SHOWN = 32

/** Waits for all processes, and throws where one of them samples otherwise than the leader. */
async function meetAlike(world: World, model: AnyTransformer, options: SampleToFolderOptions): Promise<void> {
  if (world.size === 1) return
  const { count, npz, classes } = options
  const { step, sampling } = samplingRecord(model, options)
  // Files may lie elsewhere on another machine.
  const { guide, ...settings } = sampling
  const own = {
    images: count,
    npz: npz !== undefined,
    guided: guide !== undefined,
    step: step ?? null,
    ...settings,
    classes: classes && classes.length > SHOWN ? digestOf(classes) : (classes ?? null),
    model: model.config,
  }
  requireAlike(own, await world.agree(own))
}

async function requireNoOthers(folder: string, count: number): Promise<void> {
  const names = (await ifThere(readdir(folder))) ?? []
  const isThere = (path: string) => names.includes(basename(path))
  if (isThere(promptsPath(folder)) && !isThere(recordPath({ folder }))) {
    throw new Error(
      `${promptsPath(folder)} is of no images that were sampled here, and would be replaced; move it, or choose another folder.`,
    )
  }
  const [other] = names.filter((name) => /^\d{6,}\.png$/.test(name) && Number.parseInt(name, 10) >= count).sort()
  if (other === undefined) return
  throw new Error(
    `${folder} holds ${other}, an image of another call beyond the ${count} that are wanted; remove what is there, or choose another folder.`,
  )
}

/** How many PNGs are compressed at once: as many as Node has threads for it. */
const AT_ONCE = 4

/** Writes a batch's PNGs. */
async function writeImages(folder: string, batch: SampledImages): Promise<void> {
  const numbers = Array.from({ length: batch.count }, (_, n) => n)
  const written = mapInOrder(numbers, AT_ONCE, async (n) => {
    const png = await encodePngAside(imageOf(batch, n), batch.width, batch.height, 3)
    await writeWhole(join(folder, imageName(batch.first + n)), png)
  })
  for await (const _ of written);
}

/** Image n of a batch, [H, W, 3]. */
function imageOf({ images, height, width }: SampledImages, n: number): Uint8Array {
  const length = height * width * 3
  return images.subarray(n * length, (n + 1) * length)
}

function captionsFor(
  model: AnyTransformer,
  { captions, encoder }: Prompts,
  count: number,
  classes: readonly number[] | undefined,
): string[] {
  if (!model.text) throw new RangeError('The model is told classes, and captions were given; give it classes.')
  if (classes) throw new RangeError('The model is told captions, and classes were given too; leave them out.')
  if (captions.length === 0) throw new RangeError('There is no caption to sample an image of; give one at least.')
  requirePromptEncoder(model, encoder)
  return Array.from({ length: count }, (_, i) => captions[i % captions.length]!)
}

async function labelsFor(
  model: AnyTransformer,
  count: number,
  classes: readonly number[] | undefined,
  seed: number,
): Promise<Int32Array> {
  if (model.text) throw new RangeError('The model is told captions, and has no classes; give it prompts.')
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
