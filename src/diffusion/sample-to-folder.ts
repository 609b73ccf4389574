import { rm } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { ImageGrid } from '../data/grid.ts'
import { oneAhead } from '../data/one-ahead.ts'
import { encodePngAside } from '../data/png.ts'
import { requireAlike } from '../distributed/require-alike.ts'
import { ALONE, type World } from '../distributed/world.ts'
import { writeWhole } from '../formats/atomic-file.ts'
import { FolderInUse } from '../formats/folder-in-use.ts'
import { makeFolder } from '../formats/make-folder.ts'
import type { AnyTransformer } from '../models/transformer-kinds.ts'
import { DTYPE_BYTES, elementCount } from '../tensor/dtype.ts'
import { unchangedModels } from './guidance.ts'
import { conditionsFor, conditionsOf } from './image-conditions.ts'
import {
  imageOf,
  type RangeOfImages,
  readImages,
  requireNoOthers,
  type SampleRange,
  writeImages,
} from './image-folder.ts'
import {
  type BatchOptions,
  type ImageConditions,
  imageSizeOf,
  type Prompts,
  requireSampling,
  type SamplingOptions,
  sampleImages,
} from './sample-images.ts'
import { createSampledArray, type SampledArray } from './sampled-array.ts'
import { requireFolder } from './sampler-options.ts'
import {
  recordPath,
  removeSamplingRecord,
  type SamplingOrigin,
  samplingRecord,
  writePrompts,
  writeSamplingRecord,
} from './sampling-record.ts'
import { keptLatents, settingsOf } from './sampling-settings.ts'
import { isUnfinished, partsOf, type SamplingPart, UnfinishedSampling } from './unfinished-sampling.ts'

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
    /** Whether a model of latents leaves them in `FOLDER/latents.npz`. Default: where no autoencoder decodes them. */
    readonly latents?: boolean | undefined
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
    /** Called once where an earlier call, which did not end, has made some of the images: with how many. */
    readonly onContinue?: (images: number) => void
    /** Called with what is no error and should be known. */
    readonly onNotice?: (sentence: string) => void
  }

export interface SampleResult {
  readonly count: number
  readonly folder: string
  /** A class for each image; none of a model of text. */
  readonly labels: readonly number[]
  readonly npz: string | undefined
  /** The file of the latents. */
  readonly latents: string | undefined
  readonly grid: string | undefined
}

/**
 * Samples images to `FOLDER/000000.png` and on; where nothing decodes a model's latents, or they are asked for, also these,
 * `FOLDER/latents.npz` (`latents`, f32). How they were made stands in `FOLDER/sampling.json`, and of an npz beside it, once all are there; of
 * a model of text `FOLDER/prompts.txt` has the caption of every image, a line each. Until then `FOLDER/unfinished/` says which are there: the
 * same call goes on after them, in the same batches with the same bits.
 *
 * @throws {ConfigurationError} for options that are none; {RangeError} for a class or a mode that the model has not, or latents that it does
 *   not make, before a file is touched; {Error} where the folder holds images of higher numbers, which an evaluation would take for this
 *   call's, or a prompts.txt that is of no sampling, or another process of this machine samples into it; {FileAccessError} where the system
 *   refuses a file
 */
export async function sampleToFolder(model: AnyTransformer, options: SampleToFolderOptions): Promise<SampleResult> {
  const {
    folder,
    count,
    classes,
    prompts,
    npz,
    latents,
    grid,
    gridCount,
    columns,
    world = ALONE,
    origin,
    seed,
    batch,
    autoencoder,
    onProgress,
    onContinue,
    onNotice,
    ...sampler
    // Of a program without types it may be missing.
  } = options ?? ({} as SampleToFolderOptions)
  requireFolder({
    folder,
    count,
    classes,
    prompts,
    npz,
    latents,
    grid,
    gridCount,
    columns,
    world,
    origin,
    seed,
    batch,
    autoencoder,
    onProgress,
    onContinue,
    onNotice,
  })
  requireSampling(model, sampler)
  const requireUnchanged = unchangedModels(model, sampler.guidance)
  const conditions = await conditionsFor(model, { count, seed, classes, prompts })
  const size = imageSizeOf(model, autoencoder)
  const latentShape = keptLatents(model, options)
  await requireNoOthers(folder, count)
  const isLeader = world.rank === 0
  const inGrid = Math.min(gridCount ?? count, count)
  const picture = grid !== undefined && isLeader ? new ImageGrid(inGrid, ...size, { columns }) : undefined
  // All of them now: a missing folder must not cost the images that were drawn.
  const files = [npz, grid].filter((file) => file !== undefined)
  for (const path of [folder, ...files.map((file) => dirname(file))]) await makeFolder(path)
  await using _inUse = isLeader ? await FolderInUse.take(folder) : undefined
  const settings = await settingsOf(model, options)
  const latentBytes = latentShape ? DTYPE_BYTES.f32 * elementCount(latentShape) : 0
  const unfinished = new UnfinishedSampling(folder, settings, latentBytes)
  let earlier: readonly SampleRange[] = []
  if (isLeader) {
    // Another may have sampled here since, and ended.
    const names = await requireNoOthers(folder, count)
    const isOurs = names.has(basename(recordPath({ folder }))) || (await isUnfinished(folder))
    const found = await unfinished.read(names)
    if (found.difference !== undefined) {
      onNotice?.(`${folder} holds an unfinished sampling with ${found.difference}: its images are sampled anew.`)
    }
    earlier = found.batches
    // Of images that are now replaced one by one.
    await removeSamplingRecord({ folder })
    // Nobody writes over those of an earlier call.
    if (isOurs && !latentShape) await rm(join(folder, LATENTS), { force: true })
  }
  // Nobody writes there before it is theirs, nor another's images among them.
  const shared = { ...settings, npz: npz !== undefined }
  const agreed = await world.agree({ settings: shared, earlier })
  requireAlike(shared, agreed.settings)
  earlier = agreed.earlier
  const there = imagesOf(earlier)
  if (there > 0) onContinue?.(there)
  const arrays: [SampledArray, (batch: FolderBatch) => Uint8Array][] = []
  try {
    if (npz !== undefined) {
      const array = { name: 'arr_0', dtype: 'u8', shape: [count, ...size, 3] } as const
      arrays.push([await createSampledArray(npz, array, world), ({ pixels }) => pixels!.images])
    }
    if (latentShape) {
      const array = { name: 'latents', dtype: 'f32', shape: [count, ...latentShape] } as const
      const file = await createSampledArray(join(folder, LATENTS), array, world)
      arrays.push([file, ({ latents }) => latents])
    }
    await unfinished.begin(isLeader)
    const [begin, end] = [world.rank, world.rank + 1].map((part) => Math.floor((count * part) / world.size))
    const own = { first: begin!, count: end! - begin! }
    const isShown = ({ first }: SampleRange) => npz !== undefined || (picture !== undefined && first < inGrid)
    const parts = partsOf(own, earlier)
    const isNew = imagesOf(parts.filter((part) => !part.earlier))
    const batches = sampleParts(model, parts, {
      conditions,
      requireUnchanged,
      keepsLatents: latentShape !== undefined,
      sampling: { ...sampler, seed, batch, autoencoder },
      readEarlier: async (part, batch) => ({
        latents: await unfinished.latentsOf(part, batch),
        pixels: isShown(part) ? await readImages(folder, part, size) : undefined,
      }),
      // The others are about as far.
      onProgress: (done) => onProgress?.(there + (done * (count - there)) / isNew),
    })
    // While the device makes the next batch: compressing a batch of large images takes as long as a fast sampler does.
    const written = oneAhead(batches, async (batch) => {
      const { first, pixels, latents } = batch
      if (batch.isNew && pixels) {
        await writeImages(folder, pixels)
        await unfinished.add(batch, latents)
      }
      for (const [array, dataOf] of arrays) await array.append(dataOf(batch))
      if (picture && pixels) {
        for (let n = first; n < Math.min(first + batch.count, inGrid); n++) picture.put(n, imageOf(pixels, n))
      }
    })
    for await (const _ of written);
    for (const [array] of arrays) await array.end()
    await world.meet()
    if (isLeader && npz !== undefined) await removeSamplingRecord({ file: npz })
    for (const [array] of arrays) await array.close()
  } catch (error) {
    // One that cannot be removed hides neither the others nor why.
    await Promise.allSettled([...arrays.map(([array]) => array.abort()), isLeader && unfinished.removeIfEmpty()])
    throw error
  }
  if (isLeader) {
    const record = samplingRecord(model, options)
    // First: captions without it would be somebody else's.
    await writeSamplingRecord({ folder }, record)
    if (conditions.prompts) await writePrompts(folder, conditions.prompts.captions)
    if (npz !== undefined) await writeSamplingRecord({ file: npz }, record)
  }
  if (grid !== undefined && picture) {
    // Those of other processes are read back from their files.
    for (let first = Math.floor(count / world.size); first < inGrid; first++) {
      const pixels = await readImages(folder, { first, count: 1 }, size)
      picture.put(first, pixels.images)
    }
    const { data, ...pictureSize } = picture.image
    await writeWhole(grid, await encodePngAside(data, pictureSize.width, pictureSize.height, 3))
  }
  if (isLeader) await unfinished.remove()
  const labels = conditions.labels ? [...conditions.labels] : []
  return { count, folder, labels, npz, latents: latentShape && join(folder, LATENTS), grid }
}

const LATENTS = 'latents.npz'

const imagesOf = (ranges: readonly SampleRange[]) => ranges.reduce((sum, { count }) => sum + count, 0)

/** A batch of images that were sampled, or that an earlier call has left. */
interface FolderBatch extends SampleRange {
  readonly isNew: boolean
  /** Undefined of those that are there where nobody asks for them. */
  readonly pixels: RangeOfImages | undefined
  /** f32; none where they are not kept. */
  readonly latents: Uint8Array
}

interface SamplePartsOptions {
  /** Of all images. */
  readonly conditions: ImageConditions
  /** Throws where the model, or its guide, is no longer what it was: the record would be of others than the images. */
  readonly requireUnchanged: () => void
  readonly keepsLatents: boolean
  readonly sampling: SamplingOptions & Omit<BatchOptions, 'firstImage' | 'onProgress'>
  readonly readEarlier: (part: SampleRange, batch: SampleRange) => Promise<Pick<FolderBatch, 'pixels' | 'latents'>>
  /** Called with how many images have been sampled. */
  readonly onProgress: (done: number) => void
}

/** The images of parts of a sampling, in order. */
async function* sampleParts(
  model: AnyTransformer,
  parts: readonly SamplingPart[],
  { conditions, requireUnchanged, keepsLatents, sampling, readEarlier, onProgress }: SamplePartsOptions,
): AsyncGenerator<FolderBatch> {
  let sampled = 0
  for (const { first, count, earlier } of parts) {
    if (earlier) {
      sampling.signal?.throwIfAborted()
      const { pixels, latents } = await readEarlier({ first, count }, earlier)
      yield { first, count, isNew: false, pixels, latents }
    } else {
      requireUnchanged()
      const done = sampled
      sampled += count
      const batches = sampleImages(model, {
        ...sampling,
        ...conditionsOf(conditions, first, first + count),
        firstImage: first,
        onProgress: (images) => onProgress(done + images),
      })
      for await (const { first, count, latents, ...pixels } of batches) {
        const kept = keepsLatents ? new Uint8Array(new Float32Array(latents).buffer) : new Uint8Array(0)
        yield { first, count, isNew: true, pixels: { first, count, ...pixels }, latents: kept }
      }
    }
  }
}
