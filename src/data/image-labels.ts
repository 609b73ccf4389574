import { extname, join } from 'node:path'
import type { CaptionOptions } from './captions.ts'
import { type Labels, labelsBy } from './dataset-json.ts'
import type { FileTree } from './file-tree.ts'
import { IMAGE_EXTENSIONS } from './image-decoding.ts'
import { listNames } from './name-list.ts'
import { SPLIT_WORDS } from './shards.ts'

/** With captions every image is of class 0 where there are no labels, and a note says so: what is trained on captions needs none. */
export interface LabelOptions extends Pick<CaptionOptions, 'captions'> {
  /** Leaves out class folders that hold no image, instead of failing. They get no label, as in the reference. */
  readonly allowEmptyClasses?: boolean | undefined
  /** Gives every image class 0, whatever folder it stands in. Without it, images without labels are an error. */
  readonly unlabelled?: boolean | undefined
}

export interface Labelled {
  /** One for each image, in the images' order. */
  readonly labels: readonly number[]
  /** By label; undefined where the labels have no names. */
  readonly classNames: readonly string[] | undefined
  /** What was decided on the user's behalf, in sentences. */
  readonly notes: readonly string[]
}

export const LABEL_ADVICE =
  'Put the images into one folder per class, or ask for an unlabelled set, in which every image is of class 0.'

/** Every image of class 0. @param why in words, where it was not asked for: `has no class folders` */
export function ofOneClass(names: readonly string[], place: string, why?: string): Labelled {
  const notes =
    why === undefined
      ? []
      : [`'${place}' ${why}: every image is of class 0, as with \`unlabelled\`; captions need no labels.`]
  return { labels: names.map(() => 0), classNames: undefined, notes }
}

/** Whether a file is one that no listing of the folder shows, or a resource fork of macOS. */
export function isHidden(name: string): boolean {
  return name.split('/').some((part) => part.startsWith('.') || part === '__MACOSX')
}

export function isImage(name: string): boolean {
  return IMAGE_EXTENSIONS.has(extname(name).toLowerCase()) && !isHidden(name)
}

/** The folder that holds the class folders or the dataset.json, with a trailing slash; empty for the root. */
export function enterSingleFolders(names: readonly string[], files: ReadonlySet<string>): string {
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

/** Labels by a dataset.json, whose names are relative to the folder `prefix`. */
export function labelsFromJson(
  names: readonly string[],
  prefix: string,
  labels: Labels | null,
  file: string,
  { captions }: LabelOptions,
): Labelled {
  if (labels === null) {
    if (captions !== undefined) return ofOneClass(names, file, 'declares that there are no labels')
    throw new Error(`'${file}' declares that there are no labels. ${LABEL_ADVICE}`)
  }
  const byName = labelsBy(labels, file, (name) => prefix + name)
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

/** Labels by the top folders below `prefix`: each one's place among the sorted names. */
export function labelsFromFolders(
  names: readonly string[],
  prefix: string,
  tree: Pick<FileTree, 'root' | 'folders'>,
  options: LabelOptions,
): Labelled {
  const classOf = (name: string): string | undefined => {
    const slash = name.indexOf('/', prefix.length)
    return slash < 0 ? undefined : name.slice(prefix.length, slash)
  }
  const place = prefix === '' ? tree.root : join(tree.root, prefix)
  const classNames = [...new Set(names.map(classOf))].filter((name) => name !== undefined).sort(byCodePoint)
  if (classNames.length === 0) {
    if (options.captions !== undefined) return ofOneClass(names, place, 'has no class folders')
    throw new Error(`'${place}' has no class folders. ${LABEL_ADVICE}`)
  }
  const loose = names.filter((name) => classOf(name) === undefined)
  if (loose.length > 0 && options.captions !== undefined) {
    return ofOneClass(names, place, `holds ${loose.length} images outside its class folders`)
  }
  if (loose.length > 0) {
    throw new Error(
      `'${place}' holds ${loose.length} images outside its class folders: ${listNames(loose)}. Move them into a class folder.`,
    )
  }
  if (classNames.length > 1 && classNames.every((name) => SPLIT_WORDS.has(name.toLowerCase()))) {
    throw new Error(
      `'${place}' holds the folders ${listNames(classNames)}, which are parts of a set and no classes. ` +
        'Name the folder of one, unpacked where this is an archive.',
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
      `Class folders without images in '${place}': ${listNames(empty)}. Remove them, or accept them by \`allowEmptyClasses\`.`,
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
