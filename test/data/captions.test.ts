import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { captionOfEachLine } from '../../src/data/captions.ts'
import { FileAccessError, FileFormatError } from '../../src/formats/errors.ts'
import { temporaryFolder } from './temporary-folder.ts'

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

test('what is no text, or not there, is refused by its name', async () => {
  const file = place(Uint8Array.of(0x61, 0xff, 0x0a))
  const read = captionOfEachLine(file)
  await expect(read).rejects.toThrow(FileFormatError)
  await expect(read).rejects.toThrow(`${file}: it holds captions and is not UTF-8; save it as UTF-8.`)
  const gone = captionOfEachLine(`${file}.gone`)
  await expect(gone).rejects.toThrow(FileAccessError)
  await expect(gone).rejects.toThrow(`Cannot read ${file}.gone`)
})
