import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'

// Ends when whoever started it has gone, which it notices by having another parent.
const LOOP = `
  const parent = process.ppid
  process.stdout.write('busy')
  do for (let i = 0; i < 1e7; i++); while (process.ppid === parent)`

/** Another process that wants one core all the time, as a neighbour on a shared machine does. */
export class BusyProcess implements AsyncDisposable {
  readonly #child: ChildProcess

  private constructor(child: ChildProcess) {
    this.#child = child
  }

  /** Resolves when it is busy. */
  static async start(): Promise<BusyProcess> {
    const child = spawn(process.execPath, ['-e', LOOP], { stdio: ['ignore', 'pipe', 'ignore'] })
    const said = once(child.stdout, 'data')
    const ended = once(child, 'close').then(([code]) => {
      throw new Error(`The busy process beside the benchmark ended with status ${code} before it was busy.`)
    })
    // It ends in time too, with nobody listening any more.
    ended.catch(() => {})
    await Promise.race([said, ended])
    return new BusyProcess(child)
  }

  get pid(): number {
    return this.#child.pid!
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = once(this.#child, 'close')
    this.#child.kill('SIGKILL')
    await closed
  }
}
