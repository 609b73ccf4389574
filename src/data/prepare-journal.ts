import { type FileHandle, open, readFile, truncate } from 'node:fs/promises'
import * as z from 'zod'
import { parseJson } from '../configuration/json.ts'
import { parseStored } from '../configuration/stored.ts'
import { FileAccessError } from '../formats/errors.ts'
import { type Preparation, preparation, skippedImage } from './dataset-info.ts'

const journalHead = z.strictObject({ settings: preparation })
const takenImage = z.strictObject({ name: z.string(), label: z.int() })
const encodedImages = z.strictObject({ latents: z.int().nonnegative() })
const journalLine = z.union([takenImage, skippedImage, encodedImages])

/** One image of the source that is done: taken, with its label, or skipped, with the reason. */
export type JournalEntry = z.infer<typeof takenImage> | z.infer<typeof skippedImage>

/** What a journal says is done. */
export interface JournalState {
  /** Undefined where it was killed before its first line was whole. */
  readonly settings: Preparation | undefined
  readonly entries: JournalEntry[]
  /** Images whose latents are there. */
  readonly latents: number
}

/**
 * The record of an unfinished preparation: one JSON line with what it is to make, one for each image that is done, in order, and
 * then one for each batch of latents, each written after the files that it stands for. A run that was killed goes on where the
 * journal ends.
 */
export class PrepareJournal {
  readonly path: string
  readonly #file: FileHandle

  private constructor(path: string, file: FileHandle) {
    this.path = path
    this.#file = file
  }

  static async create(path: string, settings: Preparation): Promise<PrepareJournal> {
    const journal = new PrepareJournal(path, await open(path, 'wx'))
    try {
      await journal.#write([{ settings }])
      return journal
    } catch (error) {
      await journal.close()
      throw error
    }
  }

  /** Opens a journal to go on with it. A last line that a kill cut short is dropped. */
  static async resume(path: string): Promise<{ journal: PrepareJournal } & JournalState> {
    const bytes = await readFile(path)
    const end = bytes.lastIndexOf('\n') + 1
    const [head, ...lines] = bytes.toString('utf8', 0, end).split('\n').slice(0, -1)
    const settings = head === undefined ? undefined : parseStored(journalHead, parseJson(head, path), path).settings
    const entries: JournalEntry[] = []
    let latents = 0
    for (const line of lines) {
      const entry = parseStored(journalLine, parseJson(line, path), path)
      if ('latents' in entry) latents = entry.latents
      else entries.push(entry)
    }
    if (end < bytes.length) await truncate(path, end)
    return { journal: new PrepareJournal(path, await open(path, 'a')), settings, entries, latents }
  }

  async append(entries: readonly JournalEntry[]): Promise<void> {
    await this.#write(entries)
  }

  /** Records that the first so many images have latents. */
  async appendLatents(latents: number): Promise<void> {
    await this.#write([{ latents }])
  }

  close(): Promise<void> {
    return this.#file.close()
  }

  async #write(lines: readonly object[]): Promise<void> {
    try {
      await this.#file.appendFile(lines.map((line) => `${JSON.stringify(line)}\n`).join(''))
    } catch (error) {
      throw new FileAccessError('write', this.path, error)
    }
  }
}
