import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, expect, test, vi } from 'vitest'
import { captionOfEachLine, textOf } from '../../src/data/captions.ts'
import { FileAccessError, FileFormatError } from '../../src/formats/errors.ts'
import { temporaryFolder } from '../temporary-folder.ts'

function place(bytes: string | Uint8Array): string {
  const file = join(temporaryFolder(), 'captions.txt')
  writeFileSync(file, bytes)
  return file
}

test.each([
  ['', []],
  ['a dog', ['a dog']],
  ['a dog\n', ['a dog']],
  ['a dog\r\nein Hühnchen\r\n', ['a dog', 'ein Hühnchen']],
  ['\n', ['']],
  ['\n\na dog\n\nb\n\n\n', ['', '', 'a dog', '', 'b', '', '']],
  ['a dog \n b', ['a dog ', ' b']],
  ['\ufeffa dog\n', ['a dog']],
])('of %j every line is a caption, a blank one too', async (text, captions) => {
  expect(await captionOfEachLine(place(text))).toEqual(captions)
})

afterEach(() => {
  vi.restoreAllMocks()
})

test('lines are read one by one, however long their file is', async () => {
  const decode = vi.spyOn(TextDecoder.prototype, 'decode')
  expect(await captionOfEachLine(place('a dog\n'.repeat(100)))).toHaveLength(100)
  const lengths = decode.mock.calls.map(([bytes]) => bytes!.byteLength)
  expect(Math.max(...lengths)).toBe('a dog'.length)
})

test('a file that is longer than a text can be is said to be that, and what to do', () => {
  // As V8 has it, of 2²⁹ bytes.
  vi.spyOn(TextDecoder.prototype, 'decode').mockImplementation(() => {
    throw Object.assign(new Error('Cannot create a string longer than 0x1fffffe8 characters'), {
      code: 'ERR_STRING_TOO_LONG',
    })
  })
  expect(() => textOf(new Uint8Array(7), 'c.json')).toThrow(
    new FileFormatError(
      'c.json',
      'its 7 bytes are longer than a text can be here; write the captions as JSON lines (.jsonl), which are read line by line.',
    ),
  )
})

test('what is no text, or not there, is refused by its name', async () => {
  const file = place(Uint8Array.of(0x61, 0xff, 0x0a))
  const read = captionOfEachLine(file)
  await expect(read).rejects.toThrow(FileFormatError)
  await expect(read).rejects.toThrow(`${file}: it holds captions and is not UTF-8; save it as UTF-8.`)
  const gone = captionOfEachLine(`${file}.gone`)
  await expect(gone).rejects.toThrow(FileAccessError)
  await expect(gone).rejects.toThrow(`Cannot read ${file}.gone`)
})
