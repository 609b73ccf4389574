import { basename, extname } from 'node:path'
import { FileFormatError } from '../formats/errors.ts'
import { BESIDE } from './captions.ts'
import { CaptionsBeside, isMetadata, joinCaptions, withoutExtension } from './captions-beside.ts'
import { parseDatasetJson } from './dataset-json.ts'
import { IMAGE_EXTENSIONS, ImageDecodeError } from './image-decoding.ts'
import {
  byCodePoint,
  enterSingleFolders,
  isImage,
  LABEL_ADVICE,
  type Labelled,
  labelsFromFolders,
  labelsFromJson,
  ofOneClass,
} from './image-labels.ts'
import type { ImageSource, ImageSourceOptions, SourceImage } from './image-sources.ts'
import { listNames } from './name-list.ts'
import { isSampleImage, openTar, type TarArchive, type TarReader } from './tar-archive.ts'
import { sampleOf } from './webdataset.ts'

/** The images of an archive. */
interface Taken {
  readonly archive: TarArchive
  readonly captions: CaptionsBeside | undefined
  /** Of each image the place among the archive's files, and its name there. */
  readonly places: readonly number[]
  readonly names: readonly string[]
}

/** An archive, and the captions in it where they are wanted. */
interface Shard {
  readonly archive: TarArchive
  readonly captions: CaptionsBeside | undefined
}

/** The images of one tar archive, or of several that are shards of one set, in their order. */
export async function openTarSource(paths: readonly string[], options: ImageSourceOptions): Promise<ImageSource> {
  const shards: Shard[] = []
  // All that outlives the labelling: lists and captions of the archives are many times as large.
  const readers: TarReader[] = []
  const close = async (): Promise<void> => {
    for (const reader of readers) await reader.close()
  }
  try {
    for (const path of paths) {
      const captions = options.captions === BESIDE ? new CaptionsBeside(path, options.captionColumn) : undefined
      const archive = await openTar(path, captions)
      readers.push(archive.reader)
      shards.push({ archive, captions })
    }
    return labelTarImages(paths, shards, options, close)
  } catch (error) {
    await close()
    throw error
  }
}

function labelTarImages(
  paths: readonly string[],
  shards: readonly Shard[],
  options: ImageSourceOptions,
  close: () => Promise<void>,
): ImageSource {
  const archives = shards.map(({ archive }) => archive)
  const isWebDataset = archives.some(({ sampleLabels }) => sampleLabels.size > 0)
  const isTaken = isWebDataset ? isSampleImage : isImage
  const taken = shards.map((shard) => takenOf(shard, isTaken))
  const root = paths.length === 1 ? paths[0]! : `${paths[0]} and ${paths.length - 1} more`
  requireNoLinks(root, archives, isTaken)
  if (taken.every(({ names }) => names.length === 0)) throw new Error(noImages(root, archives))
  const { labels, classNames, notes } = labelsOf(root, archives, taken, isWebDataset, options)
  // Shards name their samples alike, so the archive's name comes first.
  const prefixOf = ({ path }: TarArchive): string => (archives.length === 1 ? '' : `${basename(path)}/`)
  requireOwnNames(paths)
  const isLabel = isWebDataset || options.unlabelled ? isLabelFile : () => false
  const ignored = taken.flatMap((shard) => ignoredOf(shard, isLabel).map((name) => prefixOf(shard.archive) + name))
  const parts = taken.flatMap(({ captions, names }) => (captions ? [{ beside: captions, images: names }] : []))
  const captions = parts.length > 0 ? joinCaptions(parts) : undefined
  const images: SourceImage[] = []
  for (const { archive, names } of taken) {
    for (const name of names) images.push({ name: prefixOf(archive) + name, label: labels[images.length]! })
  }
  const sets = taken.map(({ archive, places }) => ({
    reader: archive.reader,
    prefix: prefixOf(archive),
    places: Uint32Array.from(places),
  }))
  return { path: root, images, classNames, ignored, notes, captions, read: readsOf(sets, images), close }
}

function takenOf({ archive, captions }: Shard, isTaken: (name: string) => boolean): Taken {
  const companions = new Set(captions && companionsOf(archive.files.filter(isTaken), captions))
  const places = archive.files.flatMap((name, at) => (isTaken(name) && !companions.has(name) ? [at] : []))
  return { archive, captions, places, names: places.map((at) => archive.files[at]!) }
}

/** The files of an archive that are neither images nor of use for them. */
function ignoredOf({ archive, captions, places, names }: Taken, isLabel: (name: string) => boolean): string[] {
  const taken = new Set(places)
  let stems: ReadonlySet<string> | undefined
  const isOfImage = (name: string): boolean => {
    stems ??= new Set(names.map(withoutExtension))
    return stems.has(withoutExtension(name))
  }
  const holdsCaptions = (name: string): boolean =>
    captions?.mayHold(name) === true && (isMetadata(name) || isOfImage(name))
  return archive.files.filter(
    (name, at) => !taken.has(at) && !isLabel(name) && !/(^|\/)dataset\.json$/.test(name) && !holdsCaptions(name),
  )
}

/** What reads the images of a source, which are those of the archives one after the other. */
function readsOf(
  sets: readonly { readonly reader: TarReader; readonly prefix: string; readonly places: Uint32Array }[],
  images: readonly SourceImage[],
): ImageSource['read'] {
  const indexOf = new Map(images.map(({ name }, i) => [name, i]))
  return async ({ name }) => {
    let index = indexOf.get(name)!
    for (const { reader, prefix, places } of sets) {
      if (index < places.length) return readMember(reader, places[index]!, name.slice(prefix.length), name)
      index -= places.length
    }
    throw new RangeError(`There is no image '${name}' in these archives.`)
  }
}

/** tar writes a file that has several names once, and its other names as links to that. In a folder each would be an image. */
function requireNoLinks(root: string, archives: readonly TarArchive[], isTaken: (name: string) => boolean): void {
  const links = archives.flatMap((archive) => archive.links.filter(isTaken))
  if (links.length === 0) return
  throw new Error(
    `'${root}' holds ${links.length} links where images should be: ${listNames(links)}. ` +
      'Pack it again with tar --dereference --hard-dereference, which stores what they stand for.',
  )
}

/** Errors name an image by its archive's name, which must tell it from the others. */
function requireOwnNames(paths: readonly string[]): void {
  const names = paths.map((path) => basename(path))
  const twice = names.find((name, i) => names.indexOf(name) < i)
  if (twice !== undefined) {
    throw new Error(
      `Two of the archives are called '${twice}'; name each once, or rename one, for errors to tell them apart.`,
    )
  }
}

async function readMember(reader: TarReader, at: number, name: string, shown: string): Promise<Uint8Array> {
  try {
    return await reader.read(at, name)
  } catch (error) {
    if (!(error instanceof FileFormatError)) throw error
    throw new ImageDecodeError(shown, error.problem.replace(/\.$/, ''), { cause: error })
  }
}

const isLabelFile = (name: string): boolean => ['.cls', '.json'].includes(extname(name))

/** Images that are another file of a sample which has an image of its own, and have no captions: `000123.mask.png` beside `000123.jpg`. */
function companionsOf(names: readonly string[], captions: CaptionsBeside): string[] {
  const samples = new Set(names.filter(isSampleImage).map((name) => sampleOf(name).sample))
  return names.filter((name) => !isSampleImage(name) && !captions.has(name) && samples.has(sampleOf(name).sample))
}

function noImages(root: string, archives: readonly TarArchive[]): string {
  const inner = archives.flatMap(({ files }) => files.filter((name) => /\.tar$/i.test(name)))
  const endings = [...IMAGE_EXTENSIONS].join(' ')
  return inner.length === 0
    ? `'${root}' holds no images (${endings}).`
    : `'${root}' holds no images but ${inner.length} tar archives; unpack it once and name the folder that holds them.`
}

function labelsOf(
  root: string,
  archives: readonly TarArchive[],
  taken: readonly Taken[],
  isWebDataset: boolean,
  options: ImageSourceOptions,
): Labelled {
  const names = taken.flatMap((shard) => shard.names)
  if (options.unlabelled) return ofOneClass(names, root)
  if (isWebDataset) return labelsFromSamples(root, taken, names, options)
  const shards = labelsFromShards(taken, names, root, options)
  if (shards) return shards
  const [only] = archives.length === 1 ? archives : []
  const listed = only ? undefined : archives.find(({ datasetJsons }) => datasetJsons.size > 0)
  if (listed) {
    throw new Error(
      `'${listed.path}' holds a dataset.json, which gives the labels of an archive by itself. Unpack the shards into one folder and name that.`,
    )
  }
  const prefix = enterSingleFolders(names, new Set(only?.datasetJsons.keys()))
  const notes =
    prefix === '' ? [] : [`Took the classes from inside '${prefix.slice(0, -1)}', the only folder at the top.`]
  const json = only?.datasetJsons.get(`${prefix}dataset.json`)
  const file = `${root}/${prefix}dataset.json`
  const folders = archives.flatMap((archive) => archive.folders)
  const labelled =
    json === undefined
      ? labelsFromFolders(names, prefix, { root, folders: [...new Set(folders)] }, options)
      : labelsFromJson(names, prefix, parseDatasetJson(json, file), file, options)
  return { ...labelled, notes: [...notes, ...labelled.notes] }
}

function labelsFromSamples(
  root: string,
  taken: readonly Taken[],
  names: readonly string[],
  { captions }: ImageSourceOptions,
): Labelled {
  const labels = taken.flatMap(({ archive, names }) =>
    names.map((name) => archive.sampleLabels.get(sampleOf(name).sample)),
  )
  const without = names.filter((_, i) => labels[i] === undefined)
  if (without.length > 0 && captions !== undefined) {
    return ofOneClass(names, root, `has no label for ${without.length} of ${names.length} images`)
  }
  if (without.length > 0) {
    throw new Error(
      `'${root}' has no label for ${without.length} of ${names.length} images: ${listNames(without)}. ` +
        'Each needs a .cls file, or a .json file with an integer "label", under its own name.',
    )
  }
  return { labels: labels as number[], classNames: undefined, notes: [] }
}

/** ImageNet's own form: an archive for each class, `n01440764.tar`, whose images are called `n01440764_10026.JPEG`. */
function labelsFromShards(
  taken: readonly Taken[],
  names: readonly string[],
  root: string,
  { captions }: ImageSourceOptions,
): Labelled | undefined {
  const classes = taken
    .filter(({ names }) => names.length > 0)
    .map(({ archive, names }) => ({ name: basename(archive.path).split('.')[0]!, images: names }))
  const isOfClass = ({ name, images }: (typeof classes)[number]): boolean =>
    images.every((image) => image.startsWith(`${name}_`) && !image.includes('/'))
  if (!classes.every(isOfClass)) return undefined
  const classNames = [...new Set(classes.map(({ name }) => name))].sort(byCodePoint)
  if (classNames.length < 2) {
    if (captions !== undefined) return ofOneClass(names, root, 'has no class folders')
    throw new Error(`All images are of the archive '${classNames[0]}.tar'. ${LABEL_ADVICE}`)
  }
  const index = new Map(classNames.map((name, i) => [name, i]))
  return {
    labels: classes.flatMap(({ name, images }) => images.map(() => index.get(name)!)),
    classNames,
    notes: [`Took each archive for a class, as its images begin with its name: ${listNames(classNames)}.`],
  }
}
