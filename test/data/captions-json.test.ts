import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { type CaptionEntry, captionsJsonLines, entriesByLine, readCaptions } from '../../src/data/captions-json.ts'
import { temporaryFolder } from '../temporary-folder.ts'

/** U+2028 ends a line for many readers, and in JSON it is a character as any other. */
const ENTRIES: readonly CaptionEntry[] = [
  ['0.png', ['a dog', 'ein "Hühnchen" 🐔\u2028\n, ']],
  ['1.png', []],
  ['2.png', ['],', ']}', '{"captions": [']],
]

const NAMES = ENTRIES.map(([name]) => name)

/** As an older version, or anybody, writes it at once. */
const LAID_OUT = `{"captions": [\n${ENTRIES.map((entry) => JSON.stringify(entry)).join(',\n')}\n]}\n`

/** A set's folder with captions of this text. */
function folderOf(text: string | Uint8Array): string {
  const folder = temporaryFolder()
  writeFileSync(join(folder, 'captions.json'), text)
  return folder
}

function* cut(text: string, length: number): Generator<Uint8Array> {
  const bytes = Buffer.from(text)
  // One buffer for all, as a file is read.
  const piece = new Uint8Array(length)
  for (let i = 0; i < bytes.length; i += length) {
    const part = bytes.subarray(i, i + length)
    piece.set(part)
    yield piece.subarray(0, part.length)
  }
}

test('captions.json is written line by line', () => {
  const lines = [...captionsJsonLines(ENTRIES)]
  expect(lines.join('')).toBe(LAID_OUT)
  expect(lines).toHaveLength(ENTRIES.length + 2)
  for (const line of lines) expect(line.indexOf('\n')).toBe(line.length - 1)
})

describe('entriesByLine', () => {
  test.each([1, 2, 3, 7, 16, 17, 64, 1000])('reads what is written, in pieces of %i bytes', async (length) => {
    expect(await entriesByLine(cut(LAID_OUT, length), 'c.json')).toEqual(ENTRIES)
  })

  test('reads nothing of a file that begins otherwise', async () => {
    let pieces = 0
    const counted = (function* () {
      for (const piece of cut(JSON.stringify({ captions: ENTRIES }), 4)) {
        pieces++
        yield piece
      }
    })()
    expect(await entriesByLine(counted, 'c.json')).toBeUndefined()
    // `{"captions": [` and `{"captions":[` part in the thirteenth byte.
    expect(pieces).toBe(4)
  })

  test.each<[string, string]>([
    ['a comma too many', LAID_OUT.replace('\n]}', ',\n]}')],
    ['a comma too few', LAID_OUT.replace('],\n', ']\n')],
    ['an entry in several lines', LAID_OUT.replace('",["', '",\n["')],
    ['two entries in a line', LAID_OUT.replace('[]],\n', '[]], ')],
    ['a blank line', LAID_OUT.replace('\n', '\n\n')],
    ['no end', LAID_OUT.slice(0, -3)],
    ['more behind its end', `${LAID_OUT}{}`],
    ['nothing but its beginning', '{"captions": ['],
    ['nothing', ''],
  ])('leaves what has %s to others', async (_, text) => {
    expect(text).not.toBe(LAID_OUT)
    for (const length of [5, 1000]) expect(await entriesByLine(cut(text, length), 'c.json')).toBeUndefined()
  })

  test('names the place of what is no entry', async () => {
    const text = LAID_OUT.replace('"]}"', '7')
    await expect(entriesByLine(cut(text, 100), 'c.json')).rejects.toThrow(
      "Cannot read 'c.json': at captions.2.1.1: Invalid input: expected string, received number.",
    )
  })

  test('refuses what is not UTF-8', async () => {
    await expect(entriesByLine([Buffer.from(LAID_OUT, 'latin1')], 'c.json')).rejects.toThrow(
      'c.json: it holds captions and is not UTF-8',
    )
  })
})

describe('readCaptions', () => {
  const captions = ENTRIES.map(([, own]) => own)
  const others = JSON.stringify({ captions: ENTRIES }, null, 2)

  test.each([
    ['as it is written, of any length', LAID_OUT, 0],
    ['laid out in another way, as long as a text can be', others, Buffer.byteLength(others)],
  ])('reads a file %s', async (_, text, longest) => {
    expect(await readCaptions(folderOf(text), NAMES, longest)).toEqual(captions)
  })

  test('says of a longer one how it must be laid out', async () => {
    const folder = folderOf(others)
    const bytes = Buffer.byteLength(others)
    await expect(readCaptions(folder, NAMES, bytes - 1)).rejects.toThrow(
      `${join(folder, 'captions.json')}: its ${bytes} bytes are longer than a text can be here, and it is not laid out as repa prepare writes ` +
        'it, an image a line, which is read line by line; write it so, or prepare the captions again.',
    )
  })
})
