import type { FileMetaData, SchemaElement } from 'hyparquet'
import * as z from 'zod'
import { FileFormatError } from '../formats/errors.ts'
import { RandomAccessFile } from '../formats/random-access-file.ts'
import { CAPTION_NAMES, captionsOf } from './captions.ts'
import { checkedFile, unreadable } from './parquet-checked-file.ts'
import { chunksOf, type ParquetChunk } from './parquet-chunks.ts'
import { CODECS } from './parquet-codecs.ts'
import { type ParquetFooter, readFooter } from './parquet-footer.ts'
import { RecentSpans, type SpanImages } from './recent-spans.ts'

type Parquet = typeof import('hyparquet')

/** Which columns of a parquet file hold what. */
export interface ParquetColumns {
  readonly image: string
  /** Undefined where there is none and none is wanted. */
  readonly label: string | undefined
  /** Of the label column, where the file's Hugging Face metadata names them. */
  readonly classNames: readonly string[] | undefined
  /** Undefined where captions are not wanted. */
  readonly caption: string | undefined
}

export interface ParquetColumnOptions {
  readonly imageColumn?: string | undefined
  readonly labelColumn?: string | undefined
  readonly unlabelled?: boolean | undefined
  /** Whether there is to be a column of captions. The file may then be without one of labels. */
  readonly captions?: boolean | undefined
  readonly captionColumn?: string | undefined
}

/** Names under which data sets keep their labels where no metadata tells. */
const LABEL_NAMES = ['label', 'labels', 'cls', 'class', 'target']

/** Rows are read in spans of about so many bytes, where the file's index of pages allows it; else a row group at a time. */
const SPAN_BYTES = 2 ** 26

/** What the key `huggingface` of a file's metadata says of its columns: `datasets` writes it. */
const huggingFaceSchema = z.object({ info: z.object({ features: z.record(z.string(), z.unknown()) }) })

const featureSchema = z.object({ _type: z.string(), names: z.array(z.string()).optional() })

type Features = Readonly<Record<string, z.output<typeof featureSchema>>>

/**
 * A parquet file with a column of images, as Hugging Face's `datasets` writes them: encoded files, either as a struct of `bytes`
 * and `path` or as binary data.
 */
export class ParquetImages {
  readonly path: string
  readonly rows: number
  readonly columns: ParquetColumns
  readonly #parquet: Parquet
  readonly #file: RandomAccessFile
  readonly #footer: ParquetFooter
  readonly #imageChunks: readonly ParquetChunk[]
  readonly #spans: readonly Span[]
  readonly #recent: RecentSpans

  private constructor(
    parquet: Parquet,
    file: RandomAccessFile,
    footer: ParquetFooter,
    columns: ParquetColumns,
    imageChunks: readonly ParquetChunk[],
    recent: RecentSpans,
  ) {
    this.path = file.path
    this.rows = Number(footer.metadata.num_rows)
    this.columns = columns
    this.#parquet = parquet
    this.#file = file
    this.#footer = footer
    this.#imageChunks = imageChunks
    this.#spans = spansOf(footer.metadata, columns.image)
    this.#recent = recent
  }

  /**
   * @param recent what it keeps of its images, with the other files of its set
   * @throws {FileFormatError} for a file that is no parquet file, or that has not one column of images and one of labels
   */
  static async open(
    path: string,
    options: ParquetColumnOptions,
    recent: RecentSpans = new RecentSpans(),
  ): Promise<ParquetImages> {
    const parquet = await import('hyparquet')
    const file = await RandomAccessFile.open(path)
    try {
      const footer = await readFooter(parquet, file)
      const columns = columnsOf(path, footer.schema.children, featuresOf(footer.metadata), options)
      const chunks = await readingColumn(path, columns.image, () => chunksOf(footer, columns.image, file.size))
      return new ParquetImages(parquet, file, footer, columns, chunks, recent)
    } catch (error) {
      await file.close()
      throw error
    }
  }

  /** The label of each row. */
  async labels(): Promise<Int32Array> {
    const { label } = this.columns
    if (label === undefined) throw new Error(`${this.path} has no column of labels.`)
    return Int32Array.from(await this.#column(label), (value, row) => {
      const number = Number(value)
      const isNumber = typeof value === 'number' || typeof value === 'bigint'
      if (isNumber && Number.isInteger(number) && number >= 0 && number < 2 ** 31) return number
      throw new FileFormatError(
        this.path,
        `row ${row} has the label ${String(value)} in the column "${label}"; the number of a class, from 0, was expected.`,
      )
    })
  }

  /** The captions of each row. */
  async captions(): Promise<(readonly string[])[]> {
    const { caption } = this.columns
    if (caption === undefined) throw new Error(`${this.path} has no column of captions.`)
    const values = await this.#column(caption)
    return values.map((value, row) => captionsOf(value, this.path, `row ${row}`))
  }

  async #column(name: string): Promise<unknown[]> {
    const rows = await readingColumn(this.path, name, () =>
      this.#parquet.parquetReadObjects({
        file: checkedFile(this.#file, chunksOf(this.#footer, name, this.#file.size)),
        metadata: this.#footer.metadata,
        columns: [name],
        compressors: CODECS,
      }),
    )
    return rows.map(({ [name]: value }) => value)
  }

  /** The encoded image of a row, or undefined where it has none. */
  async image(row: number): Promise<Uint8Array | undefined> {
    const span = this.#spans[lastAtMost(this.#spans, row)]!
    const images = await this.#recent.images(span, () => this.#imagesOf(span))
    // A copy: the span's buffer must not live on with one of its images.
    return images[row - span.begin]?.slice()
  }

  close(): Promise<void> {
    return this.#file.close()
  }

  async #imagesOf({ begin, end, isPart }: Span): SpanImages {
    const { image } = this.columns
    const rows = await readingColumn(this.path, image, () =>
      this.#parquet.parquetReadObjects({
        file: checkedFile(this.#file, this.#imageChunks),
        metadata: this.#footer.metadata,
        columns: [image],
        rowStart: begin,
        rowEnd: end,
        utf8: false,
        useOffsetIndex: isPart,
        compressors: CODECS,
      }),
    )
    return rows.map((row) => {
      const value: unknown = row[image]
      if (value instanceof Uint8Array) return value
      const bytes = typeof value === 'object' && value !== null && 'bytes' in value ? value.bytes : undefined
      return bytes instanceof Uint8Array ? bytes : undefined
    })
  }
}

/** Consecutive rows that are read together. */
interface Span {
  readonly begin: number
  readonly end: number
  /** Whether they are a part of a row group. */
  readonly isPart: boolean
}

function spansOf(metadata: FileMetaData, image: string): Span[] {
  const spans: Span[] = []
  let begin = 0
  for (const { columns, num_rows } of metadata.row_groups) {
    const rows = Number(num_rows)
    const chunks = columns.filter(({ meta_data }) => meta_data?.path_in_schema[0] === image)
    const bytes = chunks.reduce((sum, { meta_data }) => sum + Number(meta_data!.total_compressed_size), 0)
    const isIndexed = chunks.every(({ offset_index_offset }) => offset_index_offset !== undefined)
    const parts = isIndexed ? Math.min(rows, Math.ceil(bytes / SPAN_BYTES)) : 1
    for (let part = 0; part < parts; part++) {
      spans.push({
        begin: begin + Math.floor((rows * part) / parts),
        end: begin + Math.floor((rows * (part + 1)) / parts),
        isPart: parts > 1,
      })
    }
    begin += rows
  }
  return spans
}

/** The index of the last span that begins at or before a row. */
function lastAtMost(spans: readonly Span[], row: number): number {
  let low = 0
  let high = spans.length - 1
  while (low < high) {
    const middle = (low + high + 1) >> 1
    if (spans[middle]!.begin <= row) low = middle
    else high = middle - 1
  }
  return low
}

type Schema = readonly { readonly element: SchemaElement; readonly children: Schema }[]

function columnsOf(
  path: string,
  schema: Schema,
  features: Features,
  { imageColumn, labelColumn, unlabelled, captions, captionColumn }: ParquetColumnOptions,
): ParquetColumns {
  const names = schema.map(({ element }) => element.name)
  const listed = schema.map((column) => `${column.element.name} (${kindOf(column)})`).join(', ') || 'none'
  const choose = (what: string, flag: string, given: string | undefined, found: readonly string[]): string => {
    if (given !== undefined) {
      if (names.includes(given)) return given
      throw new FileFormatError(path, `it has no column "${given}"; its columns are ${listed}.`)
    }
    if (found.length === 1) return found[0]!
    const problem = found.length === 0 ? `no column holds ${what}` : `several columns hold ${what}: ${found.join(', ')}`
    throw new FileFormatError(path, `${problem}; its columns are ${listed}. ${flag} names the right one.`)
  }
  const ofType = (type: string): string[] => names.filter((name) => features[name]?._type === type)
  const first = (...candidates: readonly string[][]): string[] => candidates.find(({ length }) => length > 0) ?? []
  const binary = schema.filter((column) => ['struct with bytes', 'binary'].includes(kindOf(column)))
  const image = choose(
    'images (encoded files, as binary data or as a struct of bytes and path)',
    '`imageColumn`',
    imageColumn,
    first(
      ofType('Image'),
      binary.map(({ element }) => element.name),
    ),
  )
  const texts = schema.filter((column) => ['text', 'list of text'].includes(kindOf(column)))
  const caption = captions
    ? choose(
        `captions (text or lists of text, called ${CAPTION_NAMES.join(', ')})`,
        '`captionColumn`',
        captionColumn,
        CAPTION_NAMES.filter((name) => texts.some(({ element }) => element.name === name)),
      )
    : undefined
  const withoutLabels = { image, label: undefined, classNames: undefined, caption }
  if (unlabelled) return withoutLabels
  const integers = schema.filter((column) => kindOf(column) === 'integer').map(({ element }) => element.name)
  const labels = first(
    ofType('ClassLabel'),
    integers.filter((name) => LABEL_NAMES.includes(name)),
  )
  if (captions && labelColumn === undefined && labels.length === 0) return withoutLabels
  const label = choose(
    'labels (integers, called label)',
    '`unlabelled` takes all images as class 0, or `labelColumn`',
    labelColumn,
    labels,
  )
  return { image, label, classNames: features[label]?.names, caption }
}

function kindOf({ element, children }: Schema[number]): string {
  if (children.length > 0) {
    if (isListOfText({ element, children })) return 'list of text'
    return children.some((child) => child.element.name === 'bytes' && kindOf(child) === 'binary')
      ? 'struct with bytes'
      : 'struct'
  }
  const { type, converted_type, logical_type } = element
  if (type === 'BYTE_ARRAY') return converted_type === undefined && logical_type === undefined ? 'binary' : 'text'
  return type === 'INT32' || type === 'INT64' ? 'integer' : String(type).toLowerCase()
}

/** The format's logical type LIST, of texts: a group of one repeated group of one text. */
function isListOfText({ element, children: [list] }: Schema[number]): boolean {
  const isList = element.converted_type === 'LIST' || element.logical_type?.type === 'LIST'
  const [item] = list?.children ?? []
  return isList && item !== undefined && kindOf(item) === 'text'
}

function featuresOf({ key_value_metadata }: FileMetaData): Features {
  const text = key_value_metadata?.find(({ key }) => key === 'huggingface')?.value
  if (text === undefined) return {}
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch {
    return {}
  }
  const parsed = huggingFaceSchema.safeParse(json)
  if (!parsed.success) return {}
  return Object.fromEntries(
    Object.entries(parsed.data.info.features).flatMap(([name, value]) => {
      // Features of other kinds, such as lists, are of no matter here.
      const feature = featureSchema.safeParse(value)
      return feature.success ? [[name, feature.data] as const] : []
    }),
  )
}

async function readingColumn<T>(path: string, column: string, read: () => T | Promise<T>): Promise<T> {
  try {
    return await read()
  } catch (cause) {
    throw unreadable(path, column, cause)
  }
}
