/**
 * A folder that is one process's at a time: a second would mix its files among the first one's, and remove what that is writing as leftovers
 * of a killed one.
 */
import { randomUUID } from 'node:crypto'
import { link, open, readFile, rm, writeFile } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import * as z from 'zod'
import { temporaryPath, writeWhole } from './atomic-file.ts'
import { FileAccessError } from './errors.ts'
import { ifThere } from './if-there.ts'
import { runs } from './running-process.ts'

/** In the folder while a process has it. */
export const IN_USE_FILE = 'in-use.json'

const holderSchema = z.strictObject({
  host: z.string(),
  pid: z.int(),
  /** By which a process is told from a later one of the same number. */
  began: z.string(),
})

type Holder = z.output<typeof holderSchema>

/** How long a file without a whole text may be one that is being written, and how long whoever replaces a dead one's may take. */
const PATIENCE_MS = 1000
const POLL_MS = 20

/** What systems and file systems say of hard links that they do not make: FAT, some of network shares and of user space, Android. */
const NO_LINKS: ReadonlySet<string> = new Set(['EPERM', 'EACCES', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS'])

export interface TakeOptions {
  /** Stands in for Node's `link`. */
  readonly makeLink?: (existing: string, path: string) => Promise<void>
}

export class FolderInUse implements AsyncDisposable {
  readonly #file: string
  readonly #own: string

  private constructor(file: string, own: string) {
    this.#file = file
    this.#own = own
  }

  /**
   * Takes a folder, until it is disposed of: of processes that do so at one instant, one gets it. What a killed process has left is taken
   * over, and so is what one of another machine has, of which nothing can be known here.
   *
   * @throws {Error} where a process of this machine has the folder; {FileAccessError} where the system does not let a file be made there
   */
  static async take(folder: string, { makeLink = link }: TakeOptions = {}): Promise<FolderInUse> {
    const file = join(folder, IN_USE_FILE)
    const self: Holder = { host: hostname(), pid: process.pid, began: (await beginningOf(process.pid)) ?? '' }
    const own = `${JSON.stringify(self)}\n`
    const holder = await obtain(file, own, makeLink).catch((error: unknown) => {
      throw error instanceof FileAccessError ? error : new FileAccessError('write', file, error)
    })
    if (holder) {
      throw new Error(
        `${folder} is in use by process ${holder.pid}, which goes on; wait for its end, or choose another folder.`,
      )
    }
    return new FolderInUse(file, own)
  }

  /** Gives the folder back, unless it is another's by now. */
  async [Symbol.asyncDispose](): Promise<void> {
    // What cannot be read is not this process's.
    const text = await readFile(this.#file, 'utf8').catch(() => undefined)
    if (text === this.#own) await rm(this.#file, { force: true })
  }
}

type MakeLink = NonNullable<TakeOptions['makeLink']>

/**
 * Makes a file with this process's text, unless a process that runs has it, which is returned then. A dead one's is replaced, by whichever
 * process has obtained a second file in the same way: one that has read the dead one's text and comes later finds another there.
 */
async function obtain(file: string, own: string, makeLink: MakeLink): Promise<Holder | undefined> {
  const deadline = performance.now() + PATIENCE_MS
  for (;;) {
    if (await create(file, own, makeLink)) return undefined
    const left = await ifThere(readFile(file, 'utf8'))
    if (left === undefined) continue
    const holder = holderOf(left)
    if (holder && (await isThere(holder))) return holder
    const mayWait = performance.now() < deadline
    if (holder || !mayWait) {
      const successor = `${file}.successor`
      const rival = await obtain(successor, own, makeLink)
      if (!rival) {
        try {
          if (await replace(file, left, own)) return undefined
        } finally {
          await rm(successor, { force: true })
        }
      } else if (!mayWait) {
        return rival
      }
    }
    await pause(POLL_MS)
  }
}

/** False where the file holds another text by now. */
async function replace(file: string, left: string, own: string): Promise<boolean> {
  if ((await ifThere(readFile(file, 'utf8'))) !== left) return false
  await writeWhole(file, own)
  return true
}

/** Makes a file that is whole from its first instant on; false where there is one. */
async function create(file: string, text: string, makeLink: MakeLink): Promise<boolean> {
  const draft = temporaryPath(`${file}.${randomUUID()}`)
  try {
    await writeFile(draft, text, { flag: 'wx' })
    await makeLink(draft, file)
    return true
  } catch (error) {
    const { code = '', syscall } = error as NodeJS.ErrnoException
    // A training that has just begun, on another machine, has removed the draft: its file is there.
    if (syscall === 'link' && (code === 'EEXIST' || code === 'ENOENT')) return false
    if (syscall !== 'link' || !NO_LINKS.has(code)) throw error
  } finally {
    await rm(draft, { force: true })
  }
  return createEmptyFirst(file, text)
}

/** Where there are no hard links: a reader may see the file before its text is there. */
async function createEmptyFirst(file: string, text: string): Promise<boolean> {
  try {
    const handle = await open(file, 'wx')
    try {
      await handle.writeFile(text)
    } catch (error) {
      await rm(file, { force: true })
      throw error
    } finally {
      await handle.close()
    }
    return true
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false
    throw error
  }
}

/** Undefined for what a kill has torn, or is being written. */
function holderOf(text: string): Holder | undefined {
  try {
    return holderSchema.parse(JSON.parse(text))
  } catch {
    return undefined
  }
}

async function isThere({ host, pid, began }: Holder): Promise<boolean> {
  return host === hostname() && began === (await beginningOf(pid))
}

/** When a process of this machine began, as the system counts; undefined where it does not run. */
async function beginningOf(pid: number): Promise<string | undefined> {
  const stat = await ifThere(readFile(`/proc/${pid}/stat`, 'utf8')).catch((error: NodeJS.ErrnoException) => {
    // It has ended since the file was opened.
    if (error.code !== 'ESRCH') throw error
  })
  if (stat !== undefined) {
    // proc(5): the state and what follows it stand behind the name, which may hold anything.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return fields[0] === 'Z' ? undefined : fields[19]
  }
  return process.platform !== 'linux' && runs(pid) ? '' : undefined
}
