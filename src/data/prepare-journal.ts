import { type FileHandle, open, readFile, truncate } from 'node:fs/promises'
import { z } from 'zod'
import { type PrepareSettings, prepareSettings, skippedImage } from './dataset-info.ts'
import { parseJson } from './dataset-json.ts'

const journalHead = z.strictObject({ settings: prepareSettings })
const takenImage = z.strictObject({ name: z.string(), label: z.int() })
const journalLine = z.union([takenImage, skippedImage])

/** One image of the source that is done: taken, with its label, or skipped, with the reason. */
export type JournalEntry = z.infer<typeof journalLine>

/**
 * The record of an unfinished preparation: one JSON line with the settings, then one for each image that is done, in
 * order, written after the image's own files. A run that was killed goes on where the journal ends.
 */
export class PrepareJournal {
  readonly #file: FileHandle

  private constructor(file: FileHandle) {
    this.#file = file
  }

  static async create(path: string, settings: PrepareSettings): Promise<PrepareJournal> {
    const file = await open(path, 'wx')
    await file.write(`${JSON.stringify({ settings })}\n`)
    return new PrepareJournal(file)
  }

  /** Opens a journal to go on with it. A last line that a kill cut short is dropped. */
  static async resume(
    path: string,
  ): Promise<{ journal: PrepareJournal; settings: PrepareSettings | undefined; entries: JournalEntry[] }> {
    const bytes = await readFile(path)
    const end = bytes.lastIndexOf('\n') + 1
    const [head, ...lines] = bytes.toString('utf8', 0, end).split('\n').slice(0, -1)
    const settings = head === undefined ? undefined : parseJson(journalHead, head, path).settings
    const entries = lines.map((line) => parseJson(journalLine, line, path))
    if (end < bytes.length) await truncate(path, end)
    return { journal: new PrepareJournal(await open(path, 'a')), settings, entries }
  }

  async append(entries: readonly JournalEntry[]): Promise<void> {
    await this.#file.write(entries.map((entry) => `${JSON.stringify(entry)}\n`).join(''))
  }

  close(): Promise<void> {
    return this.#file.close()
  }
}
