import { basename } from 'node:path'
import { BESIDE } from './captions.ts'
import { ImageDecodeError } from './image-decoding.ts'
import { ofOneClass } from './image-labels.ts'
import type { ImageSource, ImageSourceOptions, SourceImage } from './image-sources.ts'
import { listNames } from './name-list.ts'
import { type ParquetColumns, ParquetImages } from './parquet-images.ts'
import { RecentSpans } from './recent-spans.ts'

/** The images of one parquet file, or of several that are shards of one set, row by row. */
export async function openParquetSource(paths: readonly string[], options: ImageSourceOptions): Promise<ImageSource> {
  if (options.captions !== undefined && options.captions !== BESIDE) {
    throw new Error(
      `The images of '${paths[0]}' have rows and no names for '${options.captions}' to name them by; \`captions\` ${BESIDE} takes the captions of a column.`,
    )
  }
  const files: ParquetImages[] = []
  const recent = new RecentSpans()
  const close = async (): Promise<void> => {
    for (const file of files) await file.close()
  }
  try {
    const captions = options.captions !== undefined
    for (const path of paths) files.push(await ParquetImages.open(path, { ...options, captions }, recent))
    return await labelRows(files, options, close)
  } catch (error) {
    await close()
    throw error
  }
}

async function labelRows(
  files: readonly ParquetImages[],
  options: ImageSourceOptions,
  close: () => Promise<void>,
): Promise<ImageSource> {
  const [first] = files as [ParquetImages]
  const images: SourceImage[] = []
  const captions: (readonly string[])[] = []
  const places = new Map<string, { readonly file: ParquetImages; readonly row: number }>()
  for (const file of files) {
    requireSameClasses(first, file)
    const labels = file.columns.label === undefined ? undefined : await file.labels()
    const ofRows = file.columns.caption === undefined ? undefined : await file.captions()
    for (let row = 0; row < file.rows; row++) {
      const name = `${basename(file.path)}, row ${row}`
      if (places.has(name)) {
        throw new Error(
          `Two of the files are called '${basename(file.path)}'; name each once, or rename one, for errors to tell them apart.`,
        )
      }
      places.set(name, { file, row })
      images.push({ name, label: labels?.[row] ?? 0 })
      if (ofRows) captions.push(ofRows[row]!)
    }
  }
  const root = files.length === 1 ? first.path : `${first.path} and ${files.length - 1} more`
  if (images.length === 0) throw new Error(`'${root}' has no rows.`)
  const { classNames, caption } = first.columns
  requireNames(root, images, classNames)
  return {
    path: root,
    images,
    classNames,
    ignored: [],
    notes: notesOf(root, first.columns, options),
    captions: caption === undefined ? undefined : { from: `the column "${caption}"`, ofImages: captions, notes: [] },
    read: async ({ name }) => {
      const { file, row } = places.get(name)!
      const bytes = await file.image(row)
      if (bytes !== undefined) return bytes
      throw new ImageDecodeError(name, `the column "${file.columns.image}" has no bytes there`)
    },
    close,
  }
}

function requireSameClasses(first: ParquetImages, file: ParquetImages): void {
  if (String(first.columns.classNames) !== String(file.columns.classNames)) {
    throw new Error(`'${file.path}' has other class names than '${first.path}': they are not shards of one set.`)
  }
  const [labels, others] = [first, file].map(({ columns }) => columns.label !== undefined)
  if (labels !== others) {
    throw new Error(
      `Of '${first.path}' and '${file.path}' one has labels: they are not shards of one set. \`unlabelled\` leaves them out.`,
    )
  }
}

function requireNames(root: string, images: readonly SourceImage[], classNames: readonly string[] | undefined): void {
  const foreign = classNames && images.find(({ label }) => label >= classNames.length)
  if (foreign) {
    throw new Error(
      `'${root}': ${foreign.name} has the label ${foreign.label}; there are ${classNames.length} classes: ${listNames(classNames)}.`,
    )
  }
}

function notesOf(root: string, { image, label }: ParquetColumns, options: ImageSourceOptions): string[] {
  const missing =
    label === undefined && !options.unlabelled ? ofOneClass([], root, 'has no column of labels').notes : []
  return [`Read the images from the column "${image}"${label ? ` and their labels from "${label}"` : ''}.`, ...missing]
}
