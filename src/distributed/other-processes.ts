import { type ChildProcess, spawn } from 'node:child_process'
import { availableParallelism } from 'node:os'
import { setTimeout as pause } from 'node:timers/promises'

/** What of a process's last words goes into an error. */
const LAST_WORDS = 2000
const PATIENCE_MS = 5000
const SAID_MS = 500

/** The processes 1, 2, … of this machine, which run what this one runs. */
export class OtherProcesses {
  /** Settles only where one of them ends before `end` is called: with a sentence that says which and how. */
  readonly lost: Promise<string>
  readonly #children: readonly ChildProcess[]
  #areWanted = true

  /** Starts this program `size` − 1 times more, with the same arguments; `environment` says where its leader listens. */
  constructor(size: number, environment: Readonly<Record<string, string>>) {
    // Nobody would attach a debugger to them, for which some of these flags wait.
    const execArgv = process.execArgv.filter((word) => !word.startsWith('--inspect'))
    this.#children = Array.from({ length: size - 1 }, (_, i) =>
      spawn(process.execPath, [...execArgv, ...process.argv.slice(1)], {
        env: { ...process.env, ...environment, REPA_RANK: String(i + 1), REPA_PROCESSES: String(size) },
        stdio: ['ignore', 'ignore', 'pipe'],
      }),
    )
    this.lost = new Promise((resolve) => {
      for (const [i, child] of this.#children.entries()) {
        let words = ''
        child.stderr?.setEncoding('utf8').on('data', (text: string) => {
          words = (words + text).slice(-LAST_WORDS)
        })
        child.on('error', (error) => resolve(`process ${i + 1} of ${size} could not be started: ${error.message}.`))
        // What it could still say, it has said to the leader: that comes first.
        child.on('close', async (code, signal) => {
          await pause(SAID_MS)
          const said = words.trim()
          if (this.#areWanted) {
            resolve(
              `process ${i + 1} of ${size} has ended (${signal ?? `exit status ${code}`})${said ? `: ${said}` : '.'}`,
            )
          }
        })
      }
    })
  }

  /** Waits for their end, and brings it about where it does not come. */
  async end(): Promise<void> {
    this.#areWanted = false
    const running = this.#children.filter(({ exitCode, signalCode }) => exitCode === null && signalCode === null)
    const ended = running.map((child) => new Promise((resolve) => child.once('exit', resolve)))
    const patience = new AbortController()
    await Promise.race([Promise.all(ended), pause(PATIENCE_MS, undefined, patience).catch(() => {})])
    patience.abort()
    for (const child of running) child.kill('SIGKILL')
  }
}

/** What each of so many processes of this machine may use of its cores, where nothing else says it. */
export function threadsOfEach(processes: number): number {
  return Math.max(1, Math.floor(availableParallelism() / processes))
}
