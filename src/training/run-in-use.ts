/**
 * A run's folder is one process's at a time: a second would mix its lines into the first one's log, and remove what it is writing as a
 * killed run's leftovers.
 */
import { open, readFile, rm } from 'node:fs/promises'
import { hostname } from 'node:os'
import { join } from 'node:path'
import * as z from 'zod'
import { ifThere } from '../formats/if-there.ts'

/** In the run's folder while a process has it. */
export const IN_USE_FILE = 'in-use.json'

const holderSchema = z.strictObject({
  host: z.string(),
  pid: z.int(),
  /** By which a process is told from a later one of the same number. */
  began: z.string(),
})

type Holder = z.output<typeof holderSchema>

export class RunInUse implements AsyncDisposable {
  readonly #file: string

  private constructor(file: string) {
    this.#file = file
  }

  /**
   * Takes a folder, until it is disposed of. What a killed process has left is taken over, and so is what one of another machine has,
   * of which nothing can be known here.
   *
   * @throws {Error} where a process of this machine has the folder
   */
  static async take(folder: string): Promise<RunInUse> {
    const file = join(folder, IN_USE_FILE)
    const holder = holderOf(await ifThere(readFile(file, 'utf8')))
    if (holder && (await runs(holder))) {
      throw new Error(
        `${folder} is another run's, by process ${holder.pid}, which goes on; wait for its end, or choose another folder.`,
      )
    }
    await rm(file, { force: true })
    const own: Holder = { host: hostname(), pid: process.pid, began: (await beginningOf(process.pid)) ?? '' }
    const handle = await open(file, 'wx')
    try {
      await handle.write(`${JSON.stringify(own)}\n`)
    } finally {
      await handle.close()
    }
    return new RunInUse(file)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.#file, { force: true })
  }
}

/** Undefined for what a kill has torn. */
function holderOf(text: string | undefined): Holder | undefined {
  if (text === undefined) return undefined
  try {
    return holderSchema.parse(JSON.parse(text))
  } catch {
    return undefined
  }
}

async function runs({ host, pid, began }: Holder): Promise<boolean> {
  return host === hostname() && began === (await beginningOf(pid))
}

/** When a process of this machine began, as the system counts; undefined where it does not run. */
async function beginningOf(pid: number): Promise<string | undefined> {
  const stat = await ifThere(readFile(`/proc/${pid}/stat`, 'utf8'))
  if (stat !== undefined) {
    // proc(5): the state and what follows it stand behind the name, which may hold anything.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return fields[0] === 'Z' ? undefined : fields[19]
  }
  if (process.platform === 'linux') return undefined
  try {
    process.kill(pid, 0)
    return ''
  } catch {
    return undefined
  }
}
