import * as z from 'zod'
import { FileFormatError } from '../formats/errors.ts'
import { addTo, CAPTION_NAMES, captionsOf, linesOf } from './captions.ts'

/** Its other fields are the data set's own affair. */
const rowSchema = z.looseObject({ file_name: z.string().min(1) })

type Row = z.output<typeof rowSchema>

/**
 * Reads JSON lines as Hugging Face's imagefolder has them in `metadata.jsonl`: `{"file_name": "a/1.jpg", "text": "a dog"}`. The captions are
 * in the field that is called as CAPTION_NAMES says, a string or a list of strings, or in that of the name `column`. Lines of one file name
 * add up.
 *
 * @returns the captions by file name, without the `./` that a name may begin with
 * @throws {FileFormatError} for a line that is none of these, and where no field or several could hold the captions
 */
export function parseCaptionLines(bytes: Uint8Array, file: string, column?: string): Map<string, readonly string[]> {
  const rows: (readonly [line: number, row: Row])[] = []
  let line = 0
  for (const whole of linesOf(bytes, file)) {
    const text = whole.trim()
    line++
    if (text !== '') rows.push([line, parseRow(text, file, line)])
  }
  const field = fieldOf(rows, file, column)
  const captions = new Map<string, string[]>()
  for (const [line, row] of rows) {
    addTo(captions, withoutDot(row.file_name), captionsOf(row[field], file, `line ${line}`))
  }
  return captions
}

/** A path as archives and listings have it. */
export function withoutDot(name: string): string {
  return name.replace(/^(?:\.\/)+/, '')
}

function parseRow(text: string, file: string, line: number): Row {
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch (error) {
    throw new FileFormatError(file, `line ${line} is not JSON (${(error as Error).message}).`, { cause: error })
  }
  const { success, data } = rowSchema.safeParse(json)
  if (success) return data
  throw new FileFormatError(file, `line ${line} is not {"file_name": "…", "text": "…"}: ${text.slice(0, 60)}.`)
}

function fieldOf(rows: Iterable<readonly [number, Row]>, file: string, column: string | undefined): string {
  const fields = new Set<string>()
  for (const [, row] of rows) for (const name in row) fields.add(name)
  const found = column === undefined ? CAPTION_NAMES.filter((name) => fields.has(name)) : [column]
  const [field] = found
  if (found.length === 1 && fields.has(field!)) return field!
  const problem =
    column !== undefined
      ? `no line has a field "${column}"`
      : found.length === 0
        ? `no line has a field of captions, called ${CAPTION_NAMES.join(', ')}`
        : `several fields may hold captions: ${found.join(', ')}`
  throw new FileFormatError(
    file,
    `${problem}; there are ${[...fields].join(', ') || 'none'}. \`captionColumn\` names the right one.`,
  )
}
