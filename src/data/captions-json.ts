import { constants } from 'node:buffer'
import { join } from 'node:path'
import * as z from 'zod'
import { FileFormatError } from '../formats/errors.ts'
import { RandomAccessFile } from '../formats/random-access-file.ts'
import { linesOf, textOf } from './captions.ts'
import { fitting, parseJson } from './dataset-json.ts'
import { LAYOUT } from './layout.ts'
import { listNames } from './name-list.ts'

const captionEntry = z.tuple([z.string().min(1), z.array(z.string())])

/** The file that holds a prepared set's captions: for each image, named relative to `images/`, none, one or several. */
export const captionsJson = z.strictObject({ captions: z.array(captionEntry) })

export type CaptionEntry = readonly [name: string, captions: readonly string[]]

/** The file's first line, and its last. */
const [BEGIN, END] = ['{"captions": [', ']}']

/** A line an image, for people, for what compares versions, and as all of it may be longer than a string can be. */
export function* captionsJsonLines(captions: readonly CaptionEntry[]): Generator<string> {
  yield `${BEGIN}\n`
  for (const [i, entry] of captions.entries()) {
    yield `${JSON.stringify(entry)}${i < captions.length - 1 ? ',' : ''}\n`
  }
  yield `${END}\n`
}

/**
 * The entries of a file that is laid out as `captionsJsonLines` has it; undefined where it is laid out in another way.
 *
 * @param pieces of its bytes, in order, each valid until the next is asked for
 * @throws {Error} where an entry is none; {FileFormatError} where the file is not UTF-8
 */
export async function entriesByLine(
  pieces: Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
  file: string,
): Promise<CaptionEntry[] | undefined> {
  const entries: CaptionEntry[] = []
  let next: 'begin' | 'entry' | 'end' | 'nothing' = 'begin'
  for await (const bytes of wholeLines(pieces)) {
    for (const line of linesOf(bytes, file)) {
      if (next === 'begin' && line === BEGIN) next = 'entry'
      else if (next === 'end' && line === END) next = 'nothing'
      else if (next === 'entry') {
        const isLast = !line.endsWith(',')
        const value = jsonIn(isLast ? line : line.slice(0, -1))
        if (value === undefined) return undefined
        entries.push(fitting(captionEntry, value, file, ['captions', entries.length]))
        if (isLast) next = 'end'
      } else return undefined
    }
  }
  return next === 'nothing' ? entries : undefined
}

/** Pieces of a file, cut at the ends of lines; none where it begins otherwise than with BEGIN. */
async function* wholeLines(pieces: Iterable<Uint8Array> | AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  let begun: Uint8Array[] = []
  let missing = Buffer.from(`${BEGIN}\n`)
  for await (const piece of pieces) {
    const part = piece.subarray(0, missing.length)
    if (!missing.subarray(0, part.length).equals(part)) return
    missing = missing.subarray(part.length)
    const end = piece.lastIndexOf(0x0a) + 1
    if (end > 0) {
      const lines = piece.subarray(0, end)
      yield begun.length === 0 ? lines : Buffer.concat([...begun, lines])
      begun = []
    }
    if (end < piece.length) begun.push(new Uint8Array(piece.subarray(end)))
  }
  if (begun.length > 0) yield Buffer.concat(begun)
}

function jsonIn(line: string): unknown {
  try {
    return JSON.parse(line)
  } catch {
    return undefined
  }
}

/**
 * The captions of a prepared set.
 *
 * @param images its images' names, relative to `images/`, in their order
 * @param longest bytes of a file that is laid out otherwise than `captionsJsonLines` has it, and so is read whole
 * @returns in the same order
 * @throws {Error} where the file is damaged or too long, or is not of these images
 */
export async function readCaptions(
  path: string,
  images: readonly string[],
  longest = constants.MAX_STRING_LENGTH,
): Promise<readonly (readonly string[])[]> {
  const file = join(path, LAYOUT.captions)
  const captions = await readEntries(file, longest)
  // As it is written: without a table of names, which takes as long as parsing the file.
  if (captions.length === images.length && captions.every(([name], i) => name === images[i])) {
    return captions.map(([, own]) => own)
  }
  const byName = new Map(captions)
  const refuse = (problem: string): never => {
    throw new Error(`'${file}' does not belong to the images of '${path}': ${problem}.`)
  }
  if (byName.size < captions.length) {
    const seen = new Set<string>()
    const twice = captions.find(([name]) => seen.size === seen.add(name).size)!
    refuse(`it names '${twice[0]}' twice`)
  }
  const without = images.filter((name) => !byName.has(name))
  if (without.length > 0) refuse(`it has no entry for ${without.length} of them (${listNames(without)})`)
  if (byName.size > images.length) {
    const there = new Set(images)
    const gone = [...byName.keys()].filter((name) => !there.has(name))
    refuse(`it names ${gone.length} that are not there (${listNames(gone)})`)
  }
  return images.map((name) => byName.get(name)!)
}

async function readEntries(path: string, longest: number): Promise<readonly CaptionEntry[]> {
  await using file = await RandomAccessFile.open(path)
  const entries = await entriesByLine(file.pieces(0, file.size), path)
  if (entries) return entries
  if (file.size > longest) {
    throw new FileFormatError(
      path,
      `its ${file.size} bytes are longer than a text can be here, and it is not laid out as repa prepare writes it, an image a line, which is ` +
        'read line by line; write it so, or prepare the captions again.',
    )
  }
  return parseJson(captionsJson, textOf(await file.read(0, file.size), path), path).captions
}
