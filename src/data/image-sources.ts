import { stat } from 'node:fs/promises'
import { extname, join } from 'node:path'
import { FileFormatError } from '../formats/errors.ts'
import { type Labels, parseDatasetJson } from './dataset-json.ts'
import { type FileTree, openFolder } from './file-tree.ts'
import { IMAGE_EXTENSIONS, ImageDecodeError } from './image-decoding.ts'
import { listNames } from './name-list.ts'
import { openZip } from './zip-archive.ts'

/** One image file of a source. */
export interface SourceImage {
  /** Its path inside the source, with `/` between the parts. */
  readonly name: string
  readonly label: number
}

/** The labelled image files of a folder or zip archive, in the order in which they become training images. */
export interface ImageSource {
  readonly path: string
  readonly images: readonly SourceImage[]
  /** The folder of each class, by label; undefined where the labels come from a dataset.json or there are none. */
  readonly classNames: readonly string[] | undefined
  /** Files that are no images, and hidden ones. */
  readonly ignored: readonly string[]
  /** What was decided on the user's behalf, in sentences. */
  readonly notes: readonly string[]
  /** The bytes of one image file. */
  read(image: SourceImage): Promise<Uint8Array>
  close(): Promise<void>
}

export interface ImageSourceOptions {
  /** Leaves out class folders that hold no image, instead of failing. They get no label, as in the reference. */
  readonly allowEmptyClasses?: boolean
  /** Gives every image class 0, whatever folder it stands in. Without it, images without labels are an error. */
  readonly unlabelled?: boolean
}

const ARCHIVE = /\.(zip|tar|tgz|tar\.gz|tar\.bz2|tar\.xz|7z|rar)$/i
const LABEL_ADVICE =
  'Put the images into one folder per class, or ask for an unlabelled set, in which every image is of class 0.'

/**
 * Opens a folder or a zip archive of images.
 *
 * The images come sorted by their full path. Where a dataset.json stands beside them it gives the labels (the
 * reference's layout); otherwise each top folder is a class and its label is its place among the sorted names. A single
 * top folder that holds only folders is entered first, so that `train/<class>/…` works. A folder that holds nothing but
 * one zip archive stands for that archive. Images are what ends in one of IMAGE_EXTENSIONS; hidden files are left out.
 */
export async function openImageSource(path: string, options: ImageSourceOptions = {}): Promise<ImageSource> {
  const info = await stat(path).catch(() => undefined)
  if (!info) throw new Error(`There is no image source '${path}'.`)
  if (!info.isDirectory()) return closeOnError(await openArchive(path), (tree) => labelImages(tree, options))
  const folder = await openFolder(path)
  if (imagesOf(folder).length > 0) return labelImages(folder, options)
  const archive = onlyArchive(folder)
  const source = await openImageSource(join(path, archive), options)
  return { ...source, notes: [`Read the archive '${archive}', the only one in '${path}'.`, ...source.notes] }
}

async function openArchive(path: string): Promise<FileTree> {
  if (ARCHIVE.test(path) && !/\.zip$/i.test(path)) {
    throw new Error(
      `'${path}' is an archive that cannot be read in place; unpack it and name the folder, or use a zip.`,
    )
  }
  return openZip(path)
}

async function closeOnError<T>(tree: FileTree, use: (tree: FileTree) => Promise<T>): Promise<T> {
  try {
    return await use(tree)
  } catch (error) {
    await tree.close()
    throw error
  }
}

/** The single zip archive of a folder without images. Throws a sentence that lists what there is instead. */
function onlyArchive(folder: FileTree): string {
  const archives = folder.files.filter((name) => ARCHIVE.test(name)).sort(byCodePoint)
  if (archives.length === 0) {
    const endings = [...IMAGE_EXTENSIONS].join(' ')
    throw new Error(`'${folder.root}' holds no images (${endings}) and no archive.`)
  }
  const zips = archives.filter((name) => /\.zip$/i.test(name))
  if (archives.length === 1 && zips.length === 1 && !zips[0]!.includes('/')) return zips[0]!
  const advice =
    zips.length > 0
      ? `Name the one to prepare, for example '${join(folder.root, zips[0]!)}'.`
      : 'Unpack one and name its folder.'
  throw new Error(`'${folder.root}' holds no images but ${archives.length} archives: ${listNames(archives)}. ${advice}`)
}

function isHidden(name: string): boolean {
  return name.split('/').some((part) => part.startsWith('.') || part === '__MACOSX')
}

function isImage(name: string): boolean {
  return IMAGE_EXTENSIONS.has(extname(name).toLowerCase()) && !isHidden(name)
}

function imagesOf(tree: FileTree): string[] {
  return tree.files.filter(isImage)
}

async function labelImages(tree: FileTree, options: ImageSourceOptions): Promise<ImageSource> {
  const names = imagesOf(tree).sort(byCodePoint)
  if (names.length === 0) throw new Error(`'${tree.root}' holds no images (${[...IMAGE_EXTENSIONS].join(' ')}).`)
  const files = new Set(tree.files)
  const notes: string[] = []
  const prefix = enterSingleFolders(names, files)
  if (prefix !== '') notes.push(`Took the classes from inside '${prefix.slice(0, -1)}', the only folder at the top.`)
  const jsonName = `${prefix}dataset.json`
  const hasJson = files.delete(jsonName)
  let labelled: Labelled
  if (options.unlabelled) labelled = { labels: names.map(() => 0), classNames: undefined, notes: [] }
  else if (hasJson) {
    const file = join(tree.root, jsonName)
    const json = Buffer.from(await tree.read(jsonName)).toString('utf8')
    labelled = labelsFromJson(names, prefix, parseDatasetJson(json, file), file)
  } else labelled = labelsFromFolders(names, prefix, tree, options)
  const isTaken = new Set(names)
  return {
    path: tree.root,
    images: names.map((name, i) => ({ name, label: labelled.labels[i]! })),
    classNames: labelled.classNames,
    ignored: [...files].filter((name) => !isTaken.has(name)).sort(byCodePoint),
    notes: [...notes, ...labelled.notes],
    read: (image) => readImage(tree, image.name),
    close: () => tree.close(),
  }
}

/** A damaged entry of an archive is a damaged image: the others can still be read. */
async function readImage(tree: FileTree, name: string): Promise<Uint8Array> {
  try {
    return await tree.read(name)
  } catch (error) {
    if (!(error instanceof FileFormatError)) throw error
    throw new ImageDecodeError(name, error.problem.replace(/\.$/, ''), { cause: error })
  }
}

/** The folder that holds the class folders or the dataset.json, with a trailing slash; empty for the root. */
function enterSingleFolders(names: readonly string[], files: ReadonlySet<string>): string {
  let prefix = ''
  while (!files.has(`${prefix}dataset.json`)) {
    const first = names[0]!
    const slash = first.indexOf('/', prefix.length)
    if (slash < 0) break
    const inner = first.slice(0, slash + 1)
    const holdsOnlyFolders = names.every((name) => name.startsWith(inner) && name.indexOf('/', inner.length) >= 0)
    if (!holdsOnlyFolders) break
    prefix = inner
  }
  return prefix
}

interface Labelled {
  readonly labels: readonly number[]
  readonly classNames: readonly string[] | undefined
  readonly notes: readonly string[]
}

function labelsFromJson(names: readonly string[], prefix: string, labels: Labels | null, file: string): Labelled {
  if (labels === null) throw new Error(`'${file}' declares that there are no labels. ${LABEL_ADVICE}`)
  const byName = new Map(labels.map(([name, label]) => [prefix + name, label]))
  const unlabelled = names.filter((name) => !byName.has(name))
  if (unlabelled.length > 0) {
    throw new Error(`'${file}' gives no label for ${unlabelled.length} images: ${listNames(unlabelled)}.`)
  }
  const there = new Set(names)
  const missing = [...byName.keys()].filter((name) => !there.has(name))
  if (missing.length > 0) {
    throw new Error(`'${file}' names ${missing.length} images that are not there: ${listNames(missing)}.`)
  }
  return { labels: names.map((name) => byName.get(name)!), classNames: undefined, notes: [] }
}

function labelsFromFolders(
  names: readonly string[],
  prefix: string,
  tree: FileTree,
  options: ImageSourceOptions,
): Labelled {
  const classOf = (name: string): string | undefined => {
    const slash = name.indexOf('/', prefix.length)
    return slash < 0 ? undefined : name.slice(prefix.length, slash)
  }
  const place = prefix === '' ? tree.root : join(tree.root, prefix)
  const classNames = [...new Set(names.map(classOf))].filter((name) => name !== undefined).sort(byCodePoint)
  if (classNames.length === 0) throw new Error(`'${place}' has no class folders. ${LABEL_ADVICE}`)
  const loose = names.filter((name) => classOf(name) === undefined)
  if (loose.length > 0) {
    throw new Error(
      `'${place}' holds ${loose.length} images outside its class folders: ${listNames(loose)}. Move them into a class folder.`,
    )
  }
  const withImages = new Set(classNames)
  const empty = tree.folders
    .filter((name) => name.startsWith(prefix) && name.length > prefix.length && !isHidden(name))
    .map((name) => name.slice(prefix.length))
    .filter((name) => !name.includes('/') && !withImages.has(name))
    .sort(byCodePoint)
  if (empty.length > 0 && !options.allowEmptyClasses) {
    throw new Error(
      `Class folders without images in '${place}': ${listNames(empty)}. Remove them, or accept them by --allow-empty-classes.`,
    )
  }
  const index = new Map(classNames.map((name, i) => [name, i]))
  const notes = empty.length > 0 ? [`Left out ${empty.length} class folders without images: ${listNames(empty)}.`] : []
  return { labels: names.map((name) => index.get(classOf(name)!)!), classNames, notes }
}

/**
 * Orders strings by Unicode code point, as Python's `sorted` does. JavaScript's own order, by UTF-16 unit, puts
 * characters beyond U+FFFF before U+E000…U+FFFF, which would give other labels than the reference.
 */
export function byCodePoint(a: string, b: string): number {
  const length = Math.min(a.length, b.length)
  for (let i = 0; i < length; i++) {
    const x = a.charCodeAt(i)
    const y = b.charCodeAt(i)
    if (x === y) continue
    const xIsSurrogate = x >= 0xd800 && x <= 0xdfff
    const yIsSurrogate = y >= 0xd800 && y <= 0xdfff
    return xIsSurrogate === yIsSurrogate ? x - y : xIsSurrogate ? 1 : -1
  }
  return a.length - b.length
}
