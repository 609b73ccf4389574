import type { AsyncBuffer, FileMetaData, SchemaTree } from 'hyparquet'
import { FileAccessError, FileFormatError } from '../formats/errors.ts'
import type { RandomAccessFile } from '../formats/random-access-file.ts'

type Parquet = typeof import('hyparquet')

/** What a file's end says of the rest. */
export interface ParquetFooter {
  readonly metadata: FileMetaData
  /** The root, whose children are the columns. */
  readonly schema: SchemaTree
}

/** @throws {FileFormatError} for a file that is no parquet file, or whose footer is damaged */
export async function readFooter(parquet: Parquet, file: RandomAccessFile): Promise<ParquetFooter> {
  const { path, size } = file
  let footer: ParquetFooter
  try {
    const buffer: AsyncBuffer = {
      byteLength: size,
      slice: async (begin, end = size) => (await file.read(begin, end - begin)).buffer,
    }
    // It looks for columns of geometry in a loop that does not end where a column has a negative number of columns.
    const metadata = await parquet.parquetMetadataAsync(buffer, { geoparquet: false })
    footer = { metadata, schema: parquet.parquetSchema(metadata) }
  } catch (cause) {
    if (cause instanceof FileAccessError) throw cause
    throw new FileFormatError(
      path,
      `it cannot be read as a parquet file (${reasonOf(cause, 'its footer is damaged')}).`,
      {
        cause,
      },
    )
  }
  requireRows(path, footer.metadata)
  requireColumns(path, footer)
  return footer
}

/** The reason in a message of `hyparquet`; `damage` for what it ran into without noticing: those errors are about its own code. */
export function reasonOf(cause: unknown, damage: string): string {
  if (cause instanceof TypeError || cause instanceof RangeError) return damage
  return cause instanceof Error ? cause.message.replace(/\.$/, '') : String(cause)
}

/** Rows that no row group has would be images without bytes and labels. */
function requireRows(path: string, { num_rows, row_groups }: FileMetaData): void {
  const counts: readonly unknown[] = [num_rows, ...row_groups.map((group) => group.num_rows)]
  if (!counts.every((count) => typeof count === 'bigint' && count >= 0n)) {
    throw new FileFormatError(path, 'its footer is damaged: a number of rows in it is none.')
  }
  const rows = row_groups.reduce((sum, group) => sum + group.num_rows, 0n)
  if (rows === num_rows) return
  throw new FileFormatError(path, `it declares ${num_rows} rows, but its row groups have ${rows}.`)
}

/** Each row group has the columns of the schema, in its order. */
function requireColumns(path: string, { metadata, schema }: ParquetFooter): void {
  const expected = leavesOf(schema).map(({ path }) => nameOf(path))
  for (const [group, { columns }] of metadata.row_groups.entries()) {
    const found = columns.map(({ meta_data }) => nameOf(meta_data?.path_in_schema ?? []))
    const i = Array.from({ length: Math.max(found.length, expected.length) }).findIndex(
      (_, i) => found[i] !== expected[i],
    )
    if (i < 0) continue
    throw new FileFormatError(
      path,
      `its footer is damaged: row group ${group} has ${found[i] ?? 'no column'} where the schema has ${expected[i] ?? 'none'}.`,
    )
  }
}

function leavesOf(column: SchemaTree): SchemaTree[] {
  return column.children.length > 0 ? column.children.flatMap(leavesOf) : [column]
}

function nameOf(path: readonly unknown[]): string {
  // Of a damaged footer a name may be missing.
  return path.every((name) => typeof name === 'string') ? JSON.stringify(path.join('.')) : 'a column without a name'
}
