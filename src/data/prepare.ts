import { createHash } from 'node:crypto'
import { rm } from 'node:fs/promises'
import { extname, join, resolve } from 'node:path'
import { ALONE, type World } from '../distributed/world.ts'
import { isThere } from '../formats/if-there.ts'
import { readNpy } from '../formats/npy.ts'
import { requireClassLabels } from './class-labels.ts'
import { convertImages } from './convert-images.ts'
import { writeText } from './dataset-files.ts'
import { type DatasetInfo, datasetInfo, type ImageSettings, type Preparation } from './dataset-info.ts'
import { readInfo } from './dataset-listing.ts'
import { packDataset } from './dataset-zip.ts'
import { type EncodingWork, encodePrepared } from './encoding-steps.ts'
import { type FeatureEncoder, featureSettingsOf, type TokenGrid } from './feature-encoder.ts'
import { openFolder } from './file-tree.ts'
import { finishImages, ignoredOf, infoOfOthers } from './finish-images.ts'
import { refuseIdle, refuseMakingOfImages } from './idle-options.ts'
import { type ImageSource, type ImageSourceOptions, openImageSource, type SourceImage } from './image-sources.ts'
import { type LatentEncoder, latentSettingsOf, latentShape, statisticsDigest, statisticsOf } from './latent-encoder.ts'
import { LAYOUT } from './layout.ts'
import {
  captionSettingsOf,
  captionsOfPrepared,
  captionsOfSource,
  checkCaptionOptions,
  type PrepareCaptionOptions,
  writeCaptions,
} from './prepare-captions.ts'
import type { JournalEntry, PrepareJournal } from './prepare-journal.ts'
import { requirePrepareOptions } from './prepare-options.ts'
import { describeDifference, openOutput } from './prepare-output.ts'
import type { PrepareProgress } from './prepare-progress.ts'
import { openPreparedImages, type PreparedImages } from './prepared-images.ts'
import { DEFAULT_SIZE, DEFAULT_TRANSFORM, type Transform } from './transforms.ts'

export interface PrepareOptions extends Omit<ImageSourceOptions, 'without'>, PrepareCaptionOptions {
  /**
   * What `openImageSource` opens; several paths are the shards of one set. `out` itself, or its folder `images`: the images that
   * are there, to which captions, latents or features are added. What says how images are made is then refused.
   */
  readonly source: string | readonly string[]
  /**
   * The folder to write: new, empty, left unfinished by the same call, or a whole set to add to. Or a name that ends in `.zip`: an
   * archive of one step's files as the reference's tool writes it, the latents where there is an autoencoder and else the images.
   */
  readonly out: string
  /** Side of the square training images in pixels. Default: 256; those that are there tell theirs. */
  readonly size?: number | undefined
  /** Default: `center-crop-dhariwal`. */
  readonly transform?: Transform | undefined
  /** Height of the strip of `center-crop-wide`; `size` where it is not given. */
  readonly wideHeight?: number
  /** What to do with an image file that cannot be read: leave it out and name it, or stop. */
  readonly onCorrupt?: 'skip' | 'fail'
  /** `none` keeps the pixels, x/127.5 − 1, as the latent; latents that are there stay. */
  readonly latents?: 'none' | LatentEncoder
  /** Encoders whose features are kept, so that training need not run them. */
  readonly features?: readonly FeatureEncoder[]
  /** Patch of the model that is to be aligned: the features' grid is the latents' over it. Default: 2; 4 where pixels are the latents. */
  readonly featurePatch?: number
  /** Encodes the images' mirror images too, so that training can take either. */
  readonly flip?: boolean
  /** Takes only the first images of the source, in its order. */
  readonly maxImages?: number
  /**
   * The processes that share the encoding, on one file system, with encoders on a device of each one's own; else with the same options.
   * Process 0 makes the images and calls back. Default: this one alone.
   */
  readonly world?: World
  /** Stops after the images at hand. What is done is kept, and the same call goes on from there. */
  readonly signal?: AbortSignal
  readonly onProgress?: (progress: PrepareProgress) => void
  /** Things to tell the user before they happen: a sentence each. */
  readonly onNotice?: (sentence: string) => void
}

/**
 * Writes a training data set in the reference's layout, in up to three steps:
 * 1. `images/00000/img00000000.png` and on, `images/dataset.json`, and where captions are asked for `captions.json`;
 * 2. with an autoencoder `vae-sd/00000/img-mean-std-00000000.npy` and on, `vae-sd/dataset.json`, and with `flip` the mirror
 *    images' latents under the same names in `vae-sd-flip/`;
 * 3. with encoders `features/NAME/` (feature-store.ts).
 * Beside them `dataset-info.json`. Images are numbered without gaps in the order of the source, and the bytes do not depend on
 * the number of cores or processes.
 *
 * The steps can be made by one call or by several, on the same folder. A call that ends before its last step leaves a journal:
 * `Dataset.open` refuses such a folder, and the same call goes on where it ended. A call that finds all it is asked for changes
 * nothing.
 *
 * @returns what `dataset-info.json` says
 * @throws {ConfigurationError} for an option that is none, or has a value that it cannot have
 */
export async function prepareDataset(options: PrepareOptions): Promise<DatasetInfo> {
  requirePrepareOptions(options)
  checkOptions(options)
  refuseIdle(options)
  checkCaptionOptions(options)
  if (/\.zip$/i.test(options.out)) return prepareZip(options)
  const encoding = await agreeOnEncoding(options)
  if (options.world && options.world.rank > 0) return follow(options, encoding, options.world)
  if (encoding.there) return addToSet(options, encoding, undefined)
  const source = await openImageSource(options.source, { ...options, without: options.out })
  try {
    return await addToSet(options, encoding, source)
  } finally {
    await source.close()
  }
}

function checkOptions({ size = DEFAULT_SIZE, wideHeight = size, features = [] }: PrepareOptions): void {
  if (wideHeight > size) {
    throw new RangeError(`The strip height ${wideHeight} is above the image size ${size}.`)
  }
  const names = features.map(({ name }) => name)
  const twice = names.find((name, i) => names.indexOf(name) < i)
  if (twice !== undefined) throw new RangeError(`The encoder '${twice}' is named twice; its features are kept once.`)
}

function checkShrinking({ downsampling, name }: LatentEncoder, size: number): void {
  if (size % downsampling === 0) return
  throw new RangeError(
    `The image size ${size} is not a multiple of ${downsampling}, by which the autoencoder '${name}' shrinks it.`,
  )
}

/** Whether the source is the images of the set itself. */
function isInPlace({ source, out }: PrepareOptions): boolean {
  const paths = [source].flat()
  return paths.length === 1 && [out, join(out, LAYOUT.images)].some((path) => resolve(path) === resolve(paths[0]!))
}

/** The archive is packed from a folder beside it, which a killed call leaves and the next one goes on with. */
async function prepareZip(options: PrepareOptions): Promise<DatasetInfo> {
  const { out, latents = 'none', features = [], flip, captions, world = ALONE, signal } = options
  if (features.length > 0 || flip || captions !== undefined) {
    throw new RangeError(
      `'${out}' is an archive of one step's files, as the reference has it; captions, features and flips need a folder.`,
    )
  }
  if (await isThere(out)) throw new Error(`'${out}' exists already; remove it or choose another name.`)
  const folder = `${out}.partial`
  const info = await prepareDataset({ ...options, out: folder })
  if (world.rank === 0) {
    await packDataset(join(folder, latents === 'none' ? LAYOUT.images : LAYOUT.latents), out, signal)
    await rm(folder, { recursive: true })
  }
  await world.meet()
  return info
}

/** The steps that are asked for after the first. */
interface Encoding {
  /** The images, where they are the source. */
  readonly there: PreparedImages | undefined
  readonly grid: TokenGrid
  readonly request: Preparation
}

/**
 * Holds the processes to one preparation. Nobody has written anything yet, and all have what they need.
 *
 * @throws {Error} in a process that is asked for something else than process 0
 */
async function agreeOnEncoding(options: PrepareOptions): Promise<Encoding> {
  const { out, latents = 'none', features = [], flip = false, world = ALONE } = options
  const there = isInPlace(options) ? await openPreparedImages(out) : undefined
  if (there) refuseMakingOfImages(there, options)
  const size = there?.size ?? options.size ?? DEFAULT_SIZE
  if (latents !== 'none') checkShrinking(latents, size)
  const grid = await featureGrid(options, size)
  const request: Preparation = {
    ...(latents !== 'none' && { latents: latentSettingsOf(latents, size) }),
    features: features.map((encoder) => featureSettingsOf(encoder, grid)),
    flip,
  }
  const difference = describeDifference(await world.agree(request), request)
  if (difference !== undefined) {
    throw new Error(
      `process 0 prepares a set with ${difference} here; start all processes with the same command on the same files.`,
    )
  }
  await world.meet()
  return { there, grid, request }
}

/** What process 0 does: all that is no encoding, and its part of what is. */
async function addToSet(
  options: PrepareOptions,
  { there, grid, request: encoded }: Encoding,
  source: ImageSource | undefined,
): Promise<DatasetInfo> {
  const { out, latents = 'none', features = [], world = ALONE, signal, onProgress, onNotice } = options
  const images = source?.images.slice(0, options.maxImages) ?? []
  checkLabels(source?.path, images, there)
  const left = source && classesLeft(source.images, images)
  if (left !== undefined) onNotice?.(left)
  const captions = source
    ? captionsOfSource(source, images, options)
    : there && (await captionsOfPrepared(there, options))
  const request: Preparation = {
    ...(source && { images: imageSettingsOf(images, options) }),
    ...(captions && { captions: captionSettingsOf(captions) }),
    ...encoded,
  }
  const state = await openOutput(out, request, onNotice)
  if ('images' in state) {
    await world.agree<EncodingWork | null>(null)
    return state
  }
  await using _inUse = state.inUse
  const { journal, entries, settings } = state
  try {
    let { info } = state
    if (source && info === undefined) {
      await makeImages(source, images, journal, entries, options)
      info = await finishImages(out, source, images, request.images!, entries)
    }
    const prepared = there ?? (await openPreparedImages(out))
    info ??= infoOfOthers(out, prepared)
    if (captions && !info.captions) {
      for (const note of captions.notes) onNotice?.(note)
      const written = await writeCaptions(out, captions, prepared, there ? [] : info.skipped)
      info = { ...info, captions: written, ...(source && { ignored: ignoredOf(source) }) }
    }
    const work = encodingWork(info, request, state.latents)
    await world.agree<EncodingWork | null>(work)
    if (request.latents?.tile !== undefined) {
      onNotice?.(
        `Images are encoded in blended tiles of ${request.latents.tile} latent elements, each normalised by its own statistics: not exactly what the whole would give.`,
      )
    }
    await encodePrepared(prepared, work, { out, latents, features, grid, world, journal, signal, onProgress, onNotice })
    const cached = new Map([...info.features, ...request.features].map((settings) => [settings.encoder, settings]))
    // Through the schema, in whose order the file has it.
    info = datasetInfo.parse({
      ...info,
      latentStatistics:
        info.latentStatistics ?? recordedStatistics(info, settings, { latents, begun: state.latents > 0 }),
      ...(settings.latents && { latents: info.latents ?? settings.latents }),
      features: [...cached.values()],
      flip: work.flip,
    })
    await writeText(join(out, LAYOUT.info), `${JSON.stringify(info, null, 2)}\n`)
    await rm(join(out, LAYOUT.journal))
    await world.meet()
    return info
  } finally {
    await journal.close()
  }
}

/** @throws {RangeError} where a label cannot be the number of a class */
function checkLabels(source: string | undefined, images: readonly SourceImage[], there: PreparedImages | undefined) {
  if (there) {
    const listed = there.names.map((name, i) => ({ name, label: there.labels[i]! }))
    requireClassLabels(join(there.folder, LAYOUT.labels), listed, 'Put the numbers of classes there')
  } else if (source !== undefined) {
    const column = 'or, of parquet files, name the column of classes by `labelColumn`'
    requireClassLabels(source, images, `Take all images as class 0 by \`unlabelled\`, ${column}`)
  }
}

/** That the first images of a source are not of all its classes, in a sentence: in order of folders they are of the first. */
function classesLeft(all: readonly SourceImage[], first: readonly SourceImage[]): string | undefined {
  if (first.length === all.length) return undefined
  const [classes, kept] = [all, first].map((images) => new Set(images.map(({ label }) => label)).size)
  if (kept === classes) return undefined
  const images = first.length === 1 ? 'first image is' : `first ${first.length} images are`
  return (
    `The ${images} of ${kept} of ${classes} classes; the others have none. ` +
    "Images are taken in the source's order: take more of them to have all classes."
  )
}

/**
 * The digest of an encoder's statistics, where it is certain that all latents are by them: latents that were there or begun are by those of
 * now where a digest of weights, which `openOutput` compares, is recorded of them.
 */
function recordedStatistics(
  info: DatasetInfo,
  settings: Preparation,
  { latents, begun }: { readonly latents: 'none' | LatentEncoder; readonly begun: boolean },
): string | undefined {
  const statistics = latents === 'none' ? undefined : statisticsOf(latents)
  const isCertain = (info.latents ?? settings.latents)?.weights !== undefined || (!info.latents && !begun)
  return statistics && isCertain ? statisticsDigest(statistics) : undefined
}

function encodingWork(info: DatasetInfo, request: Preparation, done: number): EncodingWork {
  const flip = request.flip || info.flip
  const cached = new Set(info.flip === flip ? info.features.map(({ encoder }) => encoder) : [])
  return {
    flip,
    parts: { plain: info.latents === undefined, flipped: flip && !(info.flip && info.latents) },
    done,
    missing: request.features.map(({ encoder }) => encoder).filter((name) => !cached.has(name)),
  }
}

/** What every other process does: its part of the encoding, once process 0 has the images. */
async function follow(
  { out, latents = 'none', features = [], signal }: PrepareOptions,
  { there, grid }: Encoding,
  world: World,
): Promise<DatasetInfo> {
  const work = await world.agree<EncodingWork | null>(null)
  if (work) {
    const prepared = there ?? (await openPreparedImages(out))
    await encodePrepared(prepared, work, { out, latents, features, grid, world, signal })
    await world.meet()
  }
  return (await readInfo(out))!
}

function imageSettingsOf(images: readonly SourceImage[], options: PrepareOptions): ImageSettings {
  const { size = DEFAULT_SIZE, transform = DEFAULT_TRANSFORM, wideHeight = size } = options
  const hash = createHash('sha256')
  for (const { name, label } of images) hash.update(`${name}\0${label}\n`)
  return { listing: hash.digest('hex'), size, transform, wideHeight }
}

/** The tokens of the model that the features are for. */
async function featureGrid(
  { out, latents = 'none', features = [], featurePatch }: PrepareOptions,
  size: number,
): Promise<TokenGrid> {
  if (features.length === 0) return [1, 1]
  const recorded = latents === 'none' ? (await readInfo(out))?.latents?.shape : latentShape(latents, size)
  const [, rows, columns] = recorded ?? (await shapeOfOthers(out)) ?? [3, size, size]
  const patch = featurePatch ?? (rows === size && columns === size ? 4 : 2)
  if (rows % patch !== 0 || columns % patch !== 0) {
    throw new RangeError(
      `A patch of ${patch} does not divide latents of ${rows} × ${columns}; choose another by \`featurePatch\`.`,
    )
  }
  return [rows / patch, columns / patch]
}

/** [C, h, w] of the latents that another tool made, of which nothing but their files tells; undefined where there are none. */
async function shapeOfOthers(out: string): Promise<readonly [number, number, number] | undefined> {
  const folder = join(out, LAYOUT.latents)
  const name = (await isThere(folder)) && (await openFolder(folder)).files.find((file) => extname(file) === '.npy')
  if (!name) return undefined
  const { shape } = await readNpy(join(folder, name))
  const [channels, rows, columns] = shape
  if (shape.length === 3) return [channels!, rows!, columns!]
  throw new Error(`The latent '${join(folder, name)}' has shape [${shape}]; [2C, h, w] was expected.`)
}

async function makeImages(
  source: ImageSource,
  images: readonly SourceImage[],
  journal: PrepareJournal,
  entries: JournalEntry[],
  options: PrepareOptions,
): Promise<void> {
  const { size = DEFAULT_SIZE, transform = DEFAULT_TRANSFORM, wideHeight = size } = options
  const { onCorrupt = 'fail', out, signal } = options
  const onProgress = (done: number, skipped: number): void =>
    options.onProgress?.({ step: 'images', done, total: images.length, skipped })
  await convertImages(source, images, journal, entries, {
    out,
    size,
    transform,
    wideHeight,
    onCorrupt,
    signal,
    onProgress,
  })
}
