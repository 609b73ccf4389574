import { createHash } from 'node:crypto'
import { mkdir, readdir, readFile, rm } from 'node:fs/promises'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { writeAtomically } from '../formats/atomic-file.ts'
import { type DatasetInfo, datasetInfo, LAYOUT, type PrepareSettings, type SkippedImage } from './dataset-info.ts'
import { formatDatasetJson, type Labels, parseJson } from './dataset-json.ts'
import { DatasetWriter, imageName, latentName, type Rendered } from './dataset-writer.ts'
import { ImageDecodeError } from './image-decoding.ts'
import { type ImageSource, openImageSource, type SourceImage } from './image-sources.ts'
import { DEFAULT_LATENT_SCALE, type LatentEncoder, latentShape } from './latent-encoder.ts'
import { mapInOrder } from './ordered-map.ts'
import { type JournalEntry, PrepareJournal } from './prepare-journal.ts'
import { renderTrainingImage } from './training-image.ts'
import type { Transform } from './transforms.ts'

export interface PrepareProgress {
  /** Images of the source that are done, skipped ones included. */
  readonly done: number
  readonly total: number
  readonly skipped: number
}

export interface PrepareOptions {
  /** A folder of class folders, a zip of them, or either in the reference's layout with a dataset.json. */
  readonly source: string
  /** The folder to write: new, empty, or left unfinished by a run with the same settings. */
  readonly out: string
  /** Side of the square training images in pixels. */
  readonly size: number
  readonly transform?: Transform
  /** Height of the strip of `center-crop-wide`; `size` where it is not given. */
  readonly wideHeight?: number
  /** What to do with an image file that cannot be read: leave it out and name it, or stop. */
  readonly onCorrupt?: 'skip' | 'fail'
  /** `none` keeps the pixels, x/127.5 − 1, as the latent. */
  readonly latents?: 'none' | LatentEncoder
  /** Takes only the first images of the source, in its order. */
  readonly maxImages?: number
  readonly allowEmptyClasses?: boolean
  readonly unlabelled?: boolean
  /** Stops after the images at hand. What is done is kept, and the same call goes on from there. */
  readonly signal?: AbortSignal
  readonly onProgress?: (progress: PrepareProgress) => void
}

const IGNORED_NAMES_KEPT = 100

/**
 * Writes a training data set in the reference's layout: `images/00000/img00000000.png` and on, `images/dataset.json`
 * and, with an encoder, `vae-sd/00000/img-mean-std-00000000.npy` and on, `vae-sd/dataset.json`; beside them
 * `dataset-info.json`. Images are numbered without gaps in the order of the source, and the bytes do not depend on the
 * number of cores.
 *
 * The dataset.json files come last. A run that ends before leaves a journal instead: `Dataset.open` refuses such a
 * folder, and the same call goes on where it ended. A call on a set that is already whole changes nothing.
 *
 * @returns what `dataset-info.json` says
 */
export async function prepareDataset(options: PrepareOptions): Promise<DatasetInfo> {
  const { size, wideHeight = size, latents = 'none' } = options
  checkOptions(size, wideHeight, latents, options.maxImages)
  const source = await openImageSource(options.source, options)
  try {
    const images = source.images.slice(0, options.maxImages)
    const settings: PrepareSettings = {
      listing: digestListing(images),
      size,
      transform: options.transform ?? 'center-crop-dhariwal',
      wideHeight,
      latents:
        latents === 'none'
          ? 'pixels'
          : {
              encoder: latents.name,
              shape: latentShape(latents, size),
              scale: latents.latentScale ?? DEFAULT_LATENT_SCALE,
            },
    }
    const state = await openOutput(options.out, settings)
    if ('images' in state) return state
    const { journal, entries } = state
    const writer = new DatasetWriter(options.out, settings, latents, journal, entries)
    try {
      await run(source, images, writer, options)
    } finally {
      await journal.close()
    }
    return await finish(options.out, source, images, settings, writer.entries)
  } finally {
    await source.close()
  }
}

function checkOptions(size: number, wideHeight: number, latents: 'none' | LatentEncoder, maxImages = 1): void {
  if (!Number.isInteger(size) || size < 1) {
    throw new RangeError(`The image size ${size} is not a whole number of pixels, at least 1.`)
  }
  if (!Number.isInteger(wideHeight) || wideHeight < 1 || wideHeight > size) {
    throw new RangeError(`The strip height ${wideHeight} is not a whole number from 1 to the image size ${size}.`)
  }
  if (!Number.isInteger(maxImages) || maxImages < 1) {
    throw new RangeError(`The limit of ${maxImages} images is not a whole number, at least 1.`)
  }
  if (latents !== 'none' && size % latents.downsampling !== 0) {
    throw new RangeError(
      `The image size ${size} is not a multiple of ${latents.downsampling}, by which the autoencoder '${latents.name}' shrinks it.`,
    )
  }
}

function digestListing(images: readonly SourceImage[]): string {
  const hash = createHash('sha256')
  for (const { name, label } of images) hash.update(`${name}\0${label}\n`)
  return hash.digest('hex')
}

/** A finished set of the same settings, or a journal to write on. Throws for a folder that holds anything else. */
async function openOutput(
  out: string,
  settings: PrepareSettings,
): Promise<DatasetInfo | { journal: PrepareJournal; entries: JournalEntry[] }> {
  await mkdir(out, { recursive: true })
  const there = await readdir(out)
  const journalPath = join(out, LAYOUT.journal)
  if (there.includes(LAYOUT.journal)) {
    const { journal, settings: begun, entries } = await PrepareJournal.resume(journalPath)
    const difference = begun && describeDifference(begun, settings)
    if (begun && !difference) return { journal, entries }
    await journal.close()
    if (difference) {
      throw new Error(
        `'${out}' holds an unfinished preparation with ${difference}. Repeat the call that began it, or remove the folder.`,
      )
    }
    // Killed before its first line was whole: nothing was written yet.
    await rm(journalPath)
    return { journal: await PrepareJournal.create(journalPath, settings), entries: [] }
  }
  if (there.includes(LAYOUT.info)) {
    const path = join(out, LAYOUT.info)
    const info = parseJson(datasetInfo, await readFile(path, 'utf8'), path)
    const difference = describeDifference(info.settings, settings)
    if (!difference) return info
    throw new Error(`'${out}' holds a data set with ${difference}. Choose another folder, or remove this one.`)
  }
  if (there.length > 0) {
    throw new Error(
      `'${out}' is not empty and holds no prepared data set (it holds '${there[0]}'). Choose a new or empty folder.`,
    )
  }
  return { journal: await PrepareJournal.create(journalPath, settings), entries: [] }
}

function describeDifference(before: PrepareSettings, now: PrepareSettings): string | undefined {
  const show = (value: unknown): string => (typeof value === 'string' ? value : JSON.stringify(value))
  const keys = Object.keys(now) as (keyof PrepareSettings)[]
  const key = keys.find((key) => show(before[key]) !== show(now[key]))
  if (key === undefined) return undefined
  return key === 'listing'
    ? 'other source images or labels'
    : `${key} ${show(before[key])}, not ${show(now[key])} as asked for`
}

async function run(
  source: ImageSource,
  images: readonly SourceImage[],
  writer: DatasetWriter,
  options: PrepareOptions,
): Promise<void> {
  const { size, wideHeight = size, transform = 'center-crop-dhariwal', onCorrupt = 'fail', signal } = options
  const render = async (image: SourceImage): Promise<Rendered> => {
    try {
      const bytes = await source.read(image)
      const rendered = await renderTrainingImage(bytes, image.name, { transform, size, wideHeight })
      return rendered ? { source: image, image: rendered } : { source: image, reason: 'it is too small for the strip' }
    } catch (error) {
      if (!(error instanceof ImageDecodeError)) throw error
      if (onCorrupt === 'fail') throw withAdvice(error)
      return { source: image, reason: error.reason }
    }
  }
  const report = (): void =>
    options.onProgress?.({
      done: writer.entries.length,
      total: images.length,
      skipped: writer.entries.length - writer.taken,
    })
  // One block is written while the next is decoded.
  let block: Rendered[] = []
  let writing: Promise<void> = Promise.resolve()
  const flush = async (): Promise<void> => {
    await writing
    report()
    writing = writer.write(block)
    writing.catch(() => {})
    block = []
  }
  try {
    // One more than there are cores, so that reading never leaves one idle.
    const pending = images.slice(writer.entries.length)
    for await (const rendered of mapInOrder(pending, availableParallelism() + 1, render)) {
      block.push(rendered)
      if (signal?.aborted) break
      if (block.length >= writer.blockImages) await flush()
    }
    if (block.length > 0) await flush()
  } finally {
    await writing
  }
  report()
  signal?.throwIfAborted()
}

function withAdvice(error: ImageDecodeError): Error {
  return new Error(`${error.message} Remove or replace it, or leave it out by --on-corrupt skip.`, { cause: error })
}

async function finish(
  out: string,
  source: ImageSource,
  images: readonly SourceImage[],
  settings: PrepareSettings,
  entries: readonly JournalEntry[],
): Promise<DatasetInfo> {
  const labels = entries.flatMap((entry) => ('label' in entry ? [entry.label] : []))
  const skipped: SkippedImage[] = entries.flatMap((entry) => ('reason' in entry ? [entry] : []))
  if (labels.length === 0) {
    throw new Error(
      `None of the ${images.length} images of '${source.path}' could be used; the first: ${skipped[0]?.reason}.`,
    )
  }
  const classes = source.classNames?.length ?? labels.reduce((max, label) => Math.max(max, label), 0) + 1
  const classCounts = new Array<number>(classes).fill(0)
  for (const label of labels) classCounts[label]! += 1
  const info: DatasetInfo = {
    format: 'repa-native-dataset-1',
    source: source.path,
    settings,
    images: labels.length,
    ...(source.classNames ? { classNames: [...source.classNames] } : {}),
    classCounts,
    skipped,
    ignored: { count: source.ignored.length, names: source.ignored.slice(0, IGNORED_NAMES_KEPT) },
    notes: [...source.notes],
  }
  const write = (path: string, text: string) =>
    writeAtomically(path, { fsync: true }, (file) => file.append(Buffer.from(text)))
  await write(join(out, LAYOUT.info), `${JSON.stringify(info, null, 2)}\n`)
  const listing = (name: (index: number) => string): Labels => labels.map((label, i) => [name(i), label])
  if (settings.latents !== 'pixels') {
    await write(join(out, LAYOUT.latents, LAYOUT.labels), formatDatasetJson(listing(latentName)))
  }
  await write(join(out, LAYOUT.images, LAYOUT.labels), formatDatasetJson(listing(imageName)))
  await rm(join(out, LAYOUT.journal))
  return info
}
