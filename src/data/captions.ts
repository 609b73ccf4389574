import { createHash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import * as z from 'zod'
import { FileAccessError, FileFormatError } from '../formats/errors.ts'

/** What `--captions` says of captions that stand beside the images; anything else is a file of captions. */
export const BESIDE = 'beside'

/** Names under which data sets keep their captions: columns of parquet files, fields of JSON lines. */
export const CAPTION_NAMES = ['caption', 'captions', 'text', 'sentences'] as const

export interface CaptionOptions {
  /**
   * Where the images' captions are: `beside`, beside each image (captions-beside.ts; of parquet files a column), or a file of captions
   * (caption-file.ts). Undefined: there are none. With captions labels are not needed: where none are to be found every image is of class 0.
   */
  readonly captions?: string | undefined
  /** The column or field that holds the captions, where its name does not tell it. With it nothing else is looked at. */
  readonly captionColumn?: string | undefined
}

/** The captions of a source's images. */
export interface SourceCaptions {
  /** What they were read from, as a sentence names it: `'captions.jsonl'`, `the .txt files beside the images`. */
  readonly from: string
  /** In the images' order: none, one or several an image. */
  readonly ofImages: readonly (readonly string[])[]
  /** What else is to be said of them, in sentences. */
  readonly notes: readonly string[]
}

const captionValue = z.union([z.string(), z.array(z.string().nullable())]).nullish()

/**
 * The captions of a value of a column or a field: a string, a list of strings, or null for none. Blank ones are left out.
 *
 * @param place what names the value in a sentence: `row 3`
 * @throws {FileFormatError} where it is anything else
 */
export function captionsOf(value: unknown, file: string, place: string): readonly string[] {
  const { success, data } = captionValue.safeParse(value)
  if (!success) {
    const shown = JSON.stringify(value, (_, part: unknown) => (typeof part === 'bigint' ? String(part) : part))
    throw new FileFormatError(
      file,
      `${place} has ${shown.slice(0, 60)} for a caption; a string or a list of strings was expected.`,
    )
  }
  return withoutBlanks(typeof data === 'string' ? [data] : (data ?? []))
}

/** The captions of a text file: one a line. */
export function captionLines(text: string): readonly string[] {
  return withoutBlanks(text.split(/\r\n|[\n\r]/))
}

/**
 * The captions of a file that has one in each line, for as many images: a blank line is the empty caption, wherever it stands.
 *
 * @throws {FileAccessError} where the file cannot be read; {FileFormatError} where it is not UTF-8
 */
export async function captionOfEachLine(file: string): Promise<string[]> {
  return Array.from(linesOf(await bytesOf(file), file), (line) => line.replace(/\r$/, ''))
}

/**
 * The lines of a text, without the newline that ends each: all of it may be longer than a string can be.
 *
 * @throws {FileFormatError} where it is not UTF-8
 */
export function* linesOf(bytes: Uint8Array, file: string): Generator<string> {
  for (let begin = 0; begin < bytes.length; ) {
    const newline = bytes.indexOf(0x0a, begin)
    const end = newline < 0 ? bytes.length : newline
    yield textOf(bytes.subarray(begin, end), file)
    begin = end + 1
  }
}

/** Adds to the list of a name: what is said of one image in several places adds up. */
export function addTo(lists: Map<string, string[]>, name: string, more: readonly string[]): void {
  const before = lists.get(name)
  if (before) before.push(...more)
  else lists.set(name, [...more])
}

function withoutBlanks(captions: readonly (string | null)[]): string[] {
  return captions.flatMap((caption) => {
    const trimmed = caption?.trim() ?? ''
    return trimmed === '' ? [] : [trimmed]
  })
}

/** SHA-256, in hexadecimal, of images' captions in the images' order. */
export function captionsDigest(ofImages: Iterable<readonly string[]>): string {
  const hash = createHash('sha256')
  for (const captions of ofImages) hash.update(`${JSON.stringify(captions)}\n`)
  return hash.digest('hex')
}

const utf8 = new TextDecoder('utf-8', { fatal: true })

/**
 * The text of a file that holds captions, or of a part of it, without a byte order mark.
 *
 * @throws {FileFormatError} where it is not UTF-8, or longer than a string can be
 */
export function textOf(bytes: Uint8Array, file: string): string {
  try {
    return utf8.decode(bytes)
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ERR_STRING_TOO_LONG') {
      throw new FileFormatError(
        file,
        `its ${bytes.length} bytes are longer than a text can be here; write the captions as JSON lines (.jsonl), which are read line by line.`,
        { cause: error },
      )
    }
    throw notUtf8(file, { cause: error })
  }
}

export function notUtf8(file: string, options?: ErrorOptions): FileFormatError {
  return new FileFormatError(file, 'it holds captions and is not UTF-8; save it as UTF-8.', options)
}

/** The bytes of a file of captions. @throws {FileAccessError} where it cannot be read */
export async function bytesOf(file: string): Promise<Uint8Array> {
  try {
    return await readFile(file)
  } catch (error) {
    throw new FileAccessError('read', file, error)
  }
}
