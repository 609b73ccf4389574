import { readFile } from 'node:fs/promises'
import { basename, extname, join } from 'node:path'
import { parseJson } from '../configuration/json.ts'
import { parseStored } from '../configuration/stored.ts'
import { isThere } from '../formats/if-there.ts'
import { type DatasetInfo, datasetInfo, type FeatureSettings, type LatentSettings } from './dataset-info.ts'
import { type Labels, labelsBy, parseDatasetJson } from './dataset-json.ts'
import { openFolder } from './file-tree.ts'
import { IMAGE_EXTENSIONS } from './image-decoding.ts'
import { LAYOUT } from './layout.ts'
import { listNames } from './name-list.ts'
import { requireReadable } from './unreadable-files.ts'

/** The names and labels of a prepared data set, by index. */
export interface DatasetListing {
  readonly path: string
  readonly images: readonly string[]
  readonly latents: readonly string[] | undefined
  readonly labels: Int32Array
  readonly classNames: readonly string[] | undefined
  /** Of each image none, one or several; undefined where the set has none, or they were left out. */
  readonly captions: readonly (readonly string[])[] | undefined
  /** How the latents were made; undefined where nothing states it. */
  readonly latentSettings: LatentSettings | undefined
  /** What latents are multiplied by for training; undefined where nothing states it. */
  readonly latentScale: number | undefined
  /** False: latents are points, without a deviation. */
  readonly hasDeviations: boolean
  /** Whether there are latents and cached features of the images' mirror images. */
  readonly flip: boolean
  /** Encoders whose features are cached. */
  readonly features: readonly FeatureSettings[]
}

/** The images of a data set, by index, whatever else is or is not there yet. */
export interface ImageListing {
  readonly names: readonly string[]
  /** The number that each name ends in. */
  readonly numbers: readonly number[]
  readonly labels: readonly number[]
}

/**
 * Lists the images of a data set with the labels of `images/dataset.json`.
 *
 * @throws {Error} if there are none, or one has no label
 */
export async function listImages(path: string): Promise<ImageListing> {
  const file = join(path, LAYOUT.images, LAYOUT.labels)
  const lack = !(await isThere(join(path, LAYOUT.images)))
    ? `it has no folder '${LAYOUT.images}'`
    : !(await isThere(file)) && `its folder '${LAYOUT.images}' has no ${LAYOUT.labels}`
  if (lack) {
    throw new Error(
      `'${path}' is not a prepared data set: ${lack}. To prepare what is in it, name another folder as output.`,
    )
  }
  const images = await numberedImages(path)
  const labels = await labelsIn(file)
  const numbers = [...images.keys()].sort((a, b) => a - b)
  const labelOf = labelsBy(labels, file, (name) => numberOf(name, file))
  checkLabels(file, numbers, images, labels, labelOf)
  return {
    names: numbers.map((number) => images.get(number)!),
    numbers,
    labels: numbers.map((number) => labelOf.get(number)!),
  }
}

export interface OpenDatasetOptions {
  /** False: captions.json, which is large where there are many images, is not read. Default: true. */
  readonly captions?: boolean
}

/**
 * Lists a data set: pairs images and latents by the numbers in their names and finds each one's label and captions.
 *
 * @throws {Error} if the folder is no whole prepared set, recorded latents, a partner, a mirror image's latent or a label is missing, a label is out of range,
 *   or captions are not of these images
 */
export async function listDataset(path: string, { captions = true }: OpenDatasetOptions = {}): Promise<DatasetListing> {
  if (await isThere(join(path, LAYOUT.journal))) {
    throw new Error(
      `'${path}' is an unfinished preparation. Repeat the call that prepared it; it goes on where it ended.`,
    )
  }
  if (!(await isThere(join(path, LAYOUT.images)))) {
    throw new Error(`'${path}' is not a prepared data set: it has no folder '${LAYOUT.images}'. Prepare it first.`)
  }
  const images = await numberedImages(path)
  const latents = (await isThere(join(path, LAYOUT.latents)))
    ? await listNumbered(join(path, LAYOUT.latents), (name) => extname(name) === '.npy')
    : undefined
  if (latents) checkPairs(path, images, latents)
  const info = await readInfo(path)
  if (info?.latents && !latents) {
    throw new Error(
      `${lacksRecorded(path, `folder '${LAYOUT.latents}'`)} To train on the pixels, or to make latents as a run trains, take 'latents' ` +
        `out of ${LAYOUT.info}.`,
    )
  }
  const { labels, file } = await readLabels(path)
  const labelOf = labelsBy(labels, file, (name) => numberOf(name, file))
  const numbers = [...images.keys()].sort((a, b) => a - b)
  checkLabels(file, numbers, images, labels, labelOf)
  const classNames = info?.classNames
  const foreign = classNames && labels.find(([, label]) => label >= classNames.length)
  if (foreign) {
    throw new Error(`'${file}' gives '${foreign[0]}' the label ${foreign[1]}; there are ${classNames.length} classes.`)
  }
  if (latents && info?.latents && info.flip) await requireFlipped(path, [...latents.values()])
  const names = numbers.map((number) => images.get(number)!)
  const hasCaptions = await isThere(join(path, LAYOUT.captions))
  if (info?.captions && !hasCaptions) {
    throw new Error(lacksRecorded(path, LAYOUT.captions))
  }
  return {
    path,
    images: names,
    captions:
      captions && hasCaptions ? await (await import('./captions-json.ts')).readCaptions(path, names) : undefined,
    latents: latents && numbers.map((number) => latents.get(number)!),
    labels: Int32Array.from(numbers, (number) => labelOf.get(number)!),
    classNames,
    latentSettings: info?.latents,
    latentScale: info?.latents?.scale,
    hasDeviations: info?.latents?.deviations ?? true,
    flip: info?.flip ?? false,
    features: info?.features ?? [],
  }
}

async function numberedImages(path: string): Promise<Map<number, string>> {
  const isImage = (name: string): boolean =>
    IMAGE_EXTENSIONS.has(extname(name).toLowerCase()) || extname(name) === '.npy'
  const images = await listNumbered(join(path, LAYOUT.images), isImage)
  if (images.size === 0) throw new Error(`'${join(path, LAYOUT.images)}' holds no images.`)
  return images
}

/** The files of a folder by the number that their names end in. */
async function listNumbered(folder: string, isWanted: (name: string) => boolean): Promise<Map<number, string>> {
  const byNumber = new Map<number, string>()
  const tree = await openFolder(folder)
  const isListed = (name: string): boolean => isWanted(name) && !basename(name).startsWith('.')
  requireReadable(tree, isListed)
  for (const name of tree.files.filter(isListed)) {
    const number = numberOf(name, folder)
    const other = byNumber.get(number)
    if (other !== undefined) throw new Error(`'${folder}' has two files of number ${number}: '${other}' and '${name}'.`)
    byNumber.set(number, name)
  }
  return byNumber
}

function numberOf(name: string, where: string): number {
  const digits = /(\d+)\.[^.]+$/.exec(name)?.[1]
  if (digits === undefined) {
    throw new Error(`'${name}' in '${where}' has no number at its end, as in 'img00000012.png', to pair it by.`)
  }
  return Number(digits)
}

function checkPairs(path: string, images: ReadonlyMap<number, string>, latents: ReadonlyMap<number, string>): void {
  const alone = (some: ReadonlyMap<number, string>, others: ReadonlyMap<number, string>): string[] => {
    const names: string[] = []
    for (const [number, name] of some) if (!others.has(number)) names.push(name)
    return names
  }
  const withoutLatent = alone(images, latents)
  const withoutImage = alone(latents, images)
  if (withoutLatent.length + withoutImage.length === 0) return
  const parts = [
    ...(withoutLatent.length > 0
      ? [`${withoutLatent.length} images have no latent (${listNames(withoutLatent)})`]
      : []),
    ...(withoutImage.length > 0 ? [`${withoutImage.length} latents have no image (${listNames(withoutImage)})`] : []),
  ]
  throw new Error(`The images and latents of '${path}' do not belong together: ${parts.join(', and ')}.`)
}

async function requireFlipped(path: string, latents: readonly string[]): Promise<void> {
  const folder = join(path, LAYOUT.flippedLatents)
  const there = new Set((await isThere(folder)) ? (await openFolder(folder)).files : [])
  const missing = latents.filter((name) => !there.has(name))
  if (missing.length === 0) return
  throw new Error(
    `'${path}' lacks ${missing.length} of the mirror images' latents in '${LAYOUT.flippedLatents}' (${listNames(missing)}), of which its ` +
      `${LAYOUT.info} speaks; copy them again or prepare it anew.`,
  )
}

function checkLabels(
  file: string,
  numbers: readonly number[],
  images: ReadonlyMap<number, string>,
  labels: Labels,
  labelOf: ReadonlyMap<number, number>,
): void {
  const unlabelled = numbers.filter((number) => !labelOf.has(number)).map((number) => images.get(number)!)
  if (unlabelled.length > 0) {
    throw new Error(`'${file}' gives no label for ${unlabelled.length} images: ${listNames(unlabelled)}.`)
  }
  // Each image has a label by now, so that as many labels are of images.
  if (labelOf.size === images.size) return
  const missing = labels.map(([name]) => name).filter((name) => !images.has(numberOf(name, file)))
  throw new Error(`'${file}' names ${missing.length} files that are not there: ${listNames(missing)}.`)
}

async function readLabels(path: string): Promise<{ labels: Labels; file: string }> {
  for (const folder of [LAYOUT.latents, LAYOUT.images]) {
    const file = join(path, folder, LAYOUT.labels)
    if (await isThere(file)) return { labels: await labelsIn(file), file }
  }
  throw new Error(
    `'${path}' has no ${LAYOUT.labels}, neither in '${LAYOUT.latents}' nor in '${LAYOUT.images}': it is no whole data set.`,
  )
}

async function labelsIn(file: string): Promise<Labels> {
  const labels = parseDatasetJson(await readFile(file, 'utf8'), file)
  if (labels !== null) return labels
  throw new Error(`'${file}' declares that there are no labels; training needs one for each image.`)
}

/** That a set is without a part of which it speaks: `folder 'images'`, `captions.json`. */
export function lacksRecorded(path: string, part: string): string {
  return `'${path}' has no ${part}, of which its ${LAYOUT.info} speaks; copy it again or prepare it anew.`
}

/**
 * What `dataset-info.json` says; undefined where another tool made the set.
 *
 * @throws {AnotherVersionError} for what this version does not know; {ConfigurationError} for what no version has stored
 */
export async function readInfo(path: string): Promise<DatasetInfo | undefined> {
  const file = join(path, LAYOUT.info)
  if (!(await isThere(file))) return undefined
  return parseStored(datasetInfo, parseJson(await readFile(file, 'utf8'), file), file)
}
