import { basename, extname } from 'node:path'
import { FileFormatError } from '../formats/errors.ts'
import { BESIDE } from './captions.ts'
import { CaptionsBeside, isMetadata, joinCaptions, stemOf } from './captions-beside.ts'
import { parseDatasetJson } from './dataset-json.ts'
import { IMAGE_EXTENSIONS, ImageDecodeError } from './image-decoding.ts'
import {
  byCodePoint,
  enterSingleFolders,
  isHidden,
  isImage,
  LABEL_ADVICE,
  type Labelled,
  labelsFromFolders,
  labelsFromJson,
  ofOneClass,
} from './image-labels.ts'
import type { ImageSource, ImageSourceOptions } from './image-sources.ts'
import { listNames } from './name-list.ts'
import { openTar, type TarArchive } from './tar-archive.ts'
import { sampleOf } from './webdataset.ts'

/** An image of a set of archives. */
interface TarImage {
  readonly archive: TarArchive
  /** Inside its archive. */
  readonly name: string
}

/** An archive, and the captions in it where they are wanted. */
interface Shard {
  readonly archive: TarArchive
  readonly captions: CaptionsBeside | undefined
}

/** The images of one tar archive, or of several that are shards of one set, in their order. */
export async function openTarSource(paths: readonly string[], options: ImageSourceOptions): Promise<ImageSource> {
  const shards: Shard[] = []
  const close = async (): Promise<void> => {
    for (const { archive } of shards) await archive.close()
  }
  try {
    for (const path of paths) {
      const captions = options.captions === BESIDE ? new CaptionsBeside(path, options.captionColumn) : undefined
      shards.push({ archive: await openTar(path, captions), captions })
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
  const perShard = shards.map(({ archive, captions }) => {
    const taken = archive.files.filter(isTaken)
    const companions = new Set(captions && companionsOf(taken, captions))
    return { archive, captions, names: taken.filter((name) => !companions.has(name)) }
  })
  const images = perShard.flatMap(({ archive, names }) => names.map((name) => ({ archive, name })))
  const root = paths.length === 1 ? paths[0]! : `${paths[0]} and ${paths.length - 1} more`
  requireNoLinks(root, archives, isTaken)
  if (images.length === 0) throw new Error(noImages(root, archives))
  const labelled = labelsOf(root, archives, images, isWebDataset, options)
  // Shards name their samples alike, so the archive's name comes first.
  const inSource =
    archives.length === 1 ? (name: string) => name : (name: string, { path }: TarArchive) => `${basename(path)}/${name}`
  requireOwnNames(paths)
  const byName = new Map(images.map((image) => [inSource(image.name, image.archive), image]))
  const labels = isWebDataset || options.unlabelled ? (name: string) => isLabelFile(name) : () => false
  const ignored = perShard.flatMap(({ archive, captions, names }) => {
    const taken = new Set(names)
    const stems = new Set(captions && names.map(stemOf))
    const holdsCaptions = (name: string): boolean =>
      captions?.mayHold(name) === true && (isMetadata(name) || stems.has(stemOf(name)))
    return archive.files
      .filter((name) => !taken.has(name) && !labels(name) && !/(^|\/)dataset\.json$/.test(name) && !holdsCaptions(name))
      .map((name) => inSource(name, archive))
  })
  const parts = perShard.flatMap(({ captions, names }) => (captions ? [{ beside: captions, images: names }] : []))
  return {
    path: root,
    images: [...byName.keys()].map((name, i) => ({ name, label: labelled.labels[i]! })),
    classNames: labelled.classNames,
    ignored,
    notes: labelled.notes,
    captions: parts.length > 0 ? joinCaptions(parts) : undefined,
    read: ({ name }) => readMember(byName.get(name)!, name),
    close,
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

async function readMember({ archive, name }: TarImage, shown: string): Promise<Uint8Array> {
  try {
    return await archive.read(name)
  } catch (error) {
    if (!(error instanceof FileFormatError)) throw error
    throw new ImageDecodeError(shown, error.problem.replace(/\.$/, ''), { cause: error })
  }
}

const isLabelFile = (name: string): boolean => ['.cls', '.json'].includes(extname(name))

/** What follows a sample's key says what the file is: `jpg` is its image, `mask.png` is not. */
function isSampleImage(name: string): boolean {
  return IMAGE_EXTENSIONS.has(`.${sampleOf(name).extension}`) && !isHidden(name)
}

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
  images: readonly TarImage[],
  isWebDataset: boolean,
  options: ImageSourceOptions,
): Labelled {
  const names = images.map(({ name }) => name)
  if (options.unlabelled) return ofOneClass(names, root)
  if (isWebDataset) return labelsFromSamples(root, images, options)
  const shards = labelsFromShards(images, root, options)
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

function labelsFromSamples(root: string, images: readonly TarImage[], { captions }: ImageSourceOptions): Labelled {
  const labels = images.map(({ archive, name }) => archive.sampleLabels.get(sampleOf(name).sample))
  const without = images.filter((_, i) => labels[i] === undefined).map(({ name }) => name)
  if (without.length > 0 && captions !== undefined) {
    const names = images.map(({ name }) => name)
    return ofOneClass(names, root, `has no label for ${without.length} of ${images.length} images`)
  }
  if (without.length > 0) {
    throw new Error(
      `'${root}' has no label for ${without.length} of ${images.length} images: ${listNames(without)}. ` +
        'Each needs a .cls file, or a .json file with an integer "label", under its own name.',
    )
  }
  return { labels: labels as number[], classNames: undefined, notes: [] }
}

/** ImageNet's own form: an archive for each class, `n01440764.tar`, whose images are called `n01440764_10026.JPEG`. */
function labelsFromShards(
  images: readonly TarImage[],
  root: string,
  { captions }: ImageSourceOptions,
): Labelled | undefined {
  const classOf = ({ archive }: TarImage): string => basename(archive.path).split('.')[0]!
  const isOfClass = (image: TarImage): boolean =>
    image.name.startsWith(`${classOf(image)}_`) && !image.name.includes('/')
  if (!images.every(isOfClass)) return undefined
  const classNames = [...new Set(images.map(classOf))].sort(byCodePoint)
  if (classNames.length < 2) {
    const names = images.map(({ name }) => name)
    if (captions !== undefined) return ofOneClass(names, root, 'has no class folders')
    throw new Error(`All images are of the archive '${classNames[0]}.tar'. ${LABEL_ADVICE}`)
  }
  const index = new Map(classNames.map((name, i) => [name, i]))
  return {
    labels: images.map((image) => index.get(classOf(image))!),
    classNames,
    notes: [`Took each archive for a class, as its images begin with its name: ${listNames(classNames)}.`],
  }
}
