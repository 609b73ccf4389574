import type { ColumnChunk, SchemaTree } from 'hyparquet'
import type { ParquetLeaf, Unpack } from '../formats/parquet-page-values.ts'
import { codecNamed } from './parquet-codecs.ts'
import type { ParquetFooter } from './parquet-footer.ts'

/** The values of a column in a row group, or of one of the columns in it: bytes of the file. */
export interface ParquetChunk extends ParquetLeaf {
  /** With those of the columns that it lies in, joined by dots. */
  readonly name: string
  readonly begin: number
  readonly end: number
  readonly values: number
  readonly rows: number
  readonly unpack: Unpack
  /** Where in the file the index of its pages stands, if there is one. */
  readonly index: { readonly begin: number; readonly end: number } | undefined
}

/** The columns under one, itself where it has values. */
interface Leaf extends ParquetLeaf {
  readonly name: string
}

/** The mark and the footer's length, at a file's end. */
const TRAILER_BYTES = 8
const MARK_BYTES = 4

/**
 * The chunks of a column, with what the file's footer says of each.
 *
 * @param fileBytes the file's size
 * @throws {Error} where that cannot be: a chunk lies beyond the file, say, or has another number of values than its row group has rows
 */
export function chunksOf({ metadata, schema }: ParquetFooter, column: string, fileBytes: number): ParquetChunk[] {
  // As `hyparquet` counts them, though the root is no column.
  const repetition = Number(schema.element.repetition_type === 'REPEATED')
  const leaves = new Map(
    schema.children.flatMap((child) => leavesOf(child, 0, repetition)).map((leaf) => [leaf.name, leaf]),
  )
  const dataEnd = fileBytes - TRAILER_BYTES - metadata.metadata_length
  return metadata.row_groups.flatMap(({ columns, num_rows }) =>
    columns
      .filter(({ meta_data }) => meta_data?.path_in_schema[0] === column)
      .map((chunk) =>
        chunkOf(chunk, leaves.get(chunk.meta_data!.path_in_schema.join('.'))!, Number(num_rows), dataEnd),
      ),
  )
}

function leavesOf({ element, children, path }: SchemaTree, definition: number, repetition: number): Leaf[] {
  const maxDefinition = definition + Number(element.repetition_type !== 'REQUIRED')
  const maxRepetition = repetition + Number(element.repetition_type === 'REPEATED')
  if (children.length > 0) return children.flatMap((child) => leavesOf(child, maxDefinition, maxRepetition))
  return [
    { name: path.join('.'), type: String(element.type), typeLength: element.type_length, maxDefinition, maxRepetition },
  ]
}

function chunkOf(chunk: ColumnChunk, leaf: Leaf, rows: number, dataEnd: number): ParquetChunk {
  const meta = chunk.meta_data!
  if (meta.type !== leaf.type) {
    throw new Error(`a row group has values of ${meta.type ?? 'no type'}, the schema of ${leaf.type}`)
  }
  const begin = Number(meta.dictionary_page_offset || meta.data_page_offset)
  const end = begin + Number(meta.total_compressed_size)
  if (!(begin >= MARK_BYTES && end >= begin && end <= dataEnd)) {
    const place = [begin, end].every(Number.isFinite) ? `bytes ${begin} to ${end} of the file` : 'no bytes'
    throw new Error(`the footer gives it ${place}; the columns are in bytes ${MARK_BYTES} to ${dataEnd}`)
  }
  const values = Number(meta.num_values)
  if (!(leaf.maxRepetition > 0 ? values >= 0 : values === rows)) {
    const count = Number.isFinite(values) ? `${values} values` : 'no number of values'
    throw new Error(`the footer gives it ${count} in a row group of ${rows} rows`)
  }
  const { offset_index_offset: offset, offset_index_length: length } = chunk
  const index = offset && length ? { begin: Number(offset), end: Number(offset) + length } : undefined
  return { ...leaf, begin, end, values, rows, unpack: codecNamed(meta.codec), index }
}
