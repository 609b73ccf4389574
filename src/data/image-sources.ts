import { stat } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { FileFormatError } from '../formats/errors.ts'
import { isThere } from '../formats/if-there.ts'
import { RandomAccessFile } from '../formats/random-access-file.ts'
import { BESIDE, type CaptionOptions, type SourceCaptions } from './captions.ts'
import { parseDatasetJson } from './dataset-json.ts'
import { type FileTree, openFolder } from './file-tree.ts'
import { refuseColumns } from './idle-options.ts'
import { IMAGE_EXTENSIONS, ImageDecodeError } from './image-decoding.ts'
import {
  byCodePoint,
  enterSingleFolders,
  isImage,
  type Labelled,
  type LabelOptions,
  labelsFromFolders,
  labelsFromJson,
  ofOneClass,
} from './image-labels.ts'
import { listNames } from './name-list.ts'
import { archiveKind, expandBraces, requireOneSplit } from './shards.ts'
import { requireReadable } from './unreadable-files.ts'
import { openZip } from './zip-archive.ts'

/** One image file of a source. */
export interface SourceImage {
  /** Its path inside the source, with `/` between the parts, or its file and row. */
  readonly name: string
  readonly label: number
}

/** Labelled images, in the order in which they become training images. */
export interface ImageSource {
  readonly path: string
  readonly images: readonly SourceImage[]
  /** The name of each class, by label; undefined where the source gives numbers alone. */
  readonly classNames: readonly string[] | undefined
  /** Files that are not named as images of the formats that are read here, and hidden ones. */
  readonly ignored: readonly string[]
  /** What was decided on the user's behalf, in sentences. */
  readonly notes: readonly string[]
  /** Undefined where none are asked for. */
  readonly captions: SourceCaptions | undefined
  /**
   * The bytes of one image file. Any order will do, but a gzipped tar archive and a parquet file are quick only where the images
   * are asked for in theirs.
   */
  read(image: SourceImage): Promise<Uint8Array>
  close(): Promise<void>
}

export interface ImageSourceOptions extends LabelOptions, CaptionOptions {
  /** Of parquet files: the column of images, where several could be. */
  readonly imageColumn?: string | undefined
  /** Of parquet files: the column of integer labels, where its name does not tell it. */
  readonly labelColumn?: string | undefined
  /** A folder that is no part of the source, though it may lie in it: what is made of the images. */
  readonly without?: string | undefined
}

/**
 * Opens images in one of these forms:
 * - a folder or zip archive: sorted by full path, as the reference takes them;
 * - tar archives, gzipped or not: in the archives' order;
 * - parquet files with a column of images: in the order of their rows.
 *
 * Several tar archives or parquet files are the shards of one set: several paths, a pattern such as
 * `train-{0000..0127}.tar`, or a folder that holds nothing else. A folder that holds nothing but one archive stands for it.
 *
 * In folders and archives a dataset.json beside the images gives the labels (the reference's layout); in tar archives
 * WebDataset's `.cls` and `.json` files do; otherwise each top folder is a class and its label is its place among the
 * sorted names. A single top folder that holds only folders is entered first, so that `train/<class>/…` works. Images are
 * what ends in one of IMAGE_EXTENSIONS; hidden files are left out. With captions the labels may be missing.
 */
export async function openImageSource(
  source: string | readonly string[],
  options: ImageSourceOptions = {},
): Promise<ImageSource> {
  const { captions: file, captionColumn } = options
  const opened = await openLabelled(source, options)
  if (file === undefined || file === BESIDE) return opened
  try {
    const { captionsFromFile } = await import('./caption-file.ts')
    const names = opened.images.map(({ name }) => name)
    const captions = await captionsFromFile(file, names, captionColumn)
    const ignored = opened.ignored.filter((name) => resolve(opened.path, name) !== resolve(file))
    return { ...opened, captions, ignored }
  } catch (error) {
    await opened.close()
    throw error
  }
}

async function openLabelled(source: string | readonly string[], options: ImageSourceOptions): Promise<ImageSource> {
  const paths = [source].flat().flatMap(expandBraces)
  if (paths.length !== 1) return openShards(paths, options)
  const [path] = paths as [string]
  await requireThere(path)
  if (!(await stat(path)).isDirectory()) return openFile(path, options)
  const folder = await openFolder(path, options.without)
  if (folder.files.some(isImage)) return labelImages(folder, options)
  const archives = archivesOf(folder)
  if (archives.length > 1) return openShards(archives, options)
  const [archive] = archives as [string]
  const opened = await openFile(archive, options)
  const note = `Read the archive '${archive.slice(path.length).replace(/^\/+/, '')}', the only one in '${path}'.`
  return { ...opened, notes: [note, ...opened.notes] }
}

async function openFile(path: string, options: ImageSourceOptions): Promise<ImageSource> {
  switch (archiveKind(path)) {
    case 'tar':
    case 'parquet':
      return openShards([path], options)
    case 'other':
      throw new Error(
        `'${path}' is an archive that cannot be read in place; unpack it and name the folder, or use a zip or a tar.`,
      )
    case 'zip':
    case undefined: {
      await requireZip(path)
      const zip = await openZip(path)
      return labelImages(zip, options).catch(async (error: unknown) => {
        await zip.close()
        throw error
      })
    }
  }
}

/** Of a name that promises no archive, the first bytes tell: a picture is no damaged zip. */
async function requireZip(path: string): Promise<void> {
  if (archiveKind(path) !== undefined) return
  await using file = await RandomAccessFile.open(path)
  const start = await file.read(0, Math.min(file.size, 2))
  if (Buffer.from(start).toString('latin1') === 'PK') return
  throw new Error(
    `'${path}' is no archive of images; expected a folder, or a file in .zip, .tar, .tar.gz, .tgz or .parquet.`,
  )
}

async function requireThere(path: string): Promise<void> {
  if (!(await isThere(path))) throw new Error(`There is no image source '${path}'; check the path.`)
}

async function openShards(paths: readonly string[], options: ImageSourceOptions): Promise<ImageSource> {
  const kinds = new Set(paths.map(archiveKind))
  const [kind] = kinds
  if (kinds.size !== 1 || (kind !== 'tar' && kind !== 'parquet')) {
    throw new Error(
      `Several sources must all be tar archives or all be parquet files: ${listNames(paths)}. Name one folder or zip.`,
    )
  }
  for (const path of paths) await requireThere(path)
  if (kind === 'tar') refuseColumns(paths[0]!, options)
  if (kind === 'tar') return (await import('./tar-source.ts')).openTarSource(paths, options)
  return (await import('./parquet-source.ts')).openParquetSource(paths, options)
}

/**
 * What stands for a folder without images: its single zip, or all its tar archives or parquet files. Throws a sentence that lists
 * what there is instead.
 */
function archivesOf(folder: FileTree): string[] {
  const isArchive = (name: string): boolean => archiveKind(name) !== undefined && !isHiddenFile(name)
  requireReadable(folder, isArchive)
  const names = folder.files.filter(isArchive).sort(byCodePoint)
  if (names.length === 0) {
    const endings = [...IMAGE_EXTENSIONS].join(' ')
    throw new Error(`'${folder.root}' holds no images (${endings}), no archive and no parquet file.`)
  }
  const paths = names.map((name) => join(folder.root, name))
  const kinds = new Set(names.map(archiveKind))
  if (kinds.size === 1 && (kinds.has('tar') || kinds.has('parquet'))) {
    requireOneSplit(folder.root, names)
    return paths
  }
  if (paths.length === 1 && kinds.has('zip') && !names[0]!.includes('/')) return paths
  const readable = paths.find((path) => archiveKind(path) !== 'other')
  const advice = readable ? `Name the one to prepare, for example '${readable}'.` : 'Unpack one and name its folder.'
  throw new Error(`'${folder.root}' holds no images but ${names.length} archives: ${listNames(names)}. ${advice}`)
}

const isHiddenFile = (name: string): boolean => name.split('/').some((part) => part.startsWith('.'))

async function labelImages(tree: FileTree, options: ImageSourceOptions): Promise<ImageSource> {
  refuseColumns(tree.root, options)
  requireReadable(tree, isImage)
  const names = tree.files.filter(isImage).sort(byCodePoint)
  if (names.length === 0) throw new Error(`'${tree.root}' holds no images (${[...IMAGE_EXTENSIONS].join(' ')}).`)
  const files = new Set(tree.files)
  const notes: string[] = []
  const prefix = enterSingleFolders(names, files)
  if (prefix !== '') notes.push(`Took the classes from inside '${prefix.slice(0, -1)}', the only folder at the top.`)
  const jsonName = `${prefix}dataset.json`
  const hasJson = files.delete(jsonName)
  let labelled: Labelled
  if (options.unlabelled) labelled = ofOneClass(names, tree.root)
  else if (hasJson) {
    const file = join(tree.root, jsonName)
    const json = Buffer.from(await tree.read(jsonName)).toString('utf8')
    labelled = labelsFromJson(names, prefix, parseDatasetJson(json, file), file, options)
  } else labelled = labelsFromFolders(names, prefix, tree, options)
  const isTaken = new Set(names)
  const captions =
    options.captions === BESIDE
      ? await (await import('./captions-beside.ts')).captionsBeside(tree, names, options)
      : undefined
  return {
    path: tree.root,
    images: names.map((name, i) => ({ name, label: labelled.labels[i]! })),
    classNames: labelled.classNames,
    ignored: [...files].filter((name) => !isTaken.has(name) && !captions?.files.has(name)).sort(byCodePoint),
    notes: [...notes, ...labelled.notes],
    captions,
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
