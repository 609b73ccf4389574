import { type FileHandle, open } from 'node:fs/promises'
import { FileAccessError } from '../../formats/errors.ts'
import { parseMetricsLine } from '../metrics.ts'
import { METRICS, type Metrics, MetricsTable, NO_METRICS } from '../metrics-table.ts'

/** What one look at a log found. */
export interface LogChange {
  /** The first step from which the metrics are not what they were; undefined where nothing is new. */
  readonly from: number | undefined
  /** Why the rest of the log cannot be read, in a sentence. */
  readonly problem: string | undefined
}

const CHUNK = 1 << 20
const NEWLINE = 0x0a

/**
 * Reads a `metrics.jsonl` while it is written: each `poll` reads what came since. A last line without its newline is left
 * until it has one. A log that was cut (a resumed run cuts off what it makes again) or replaced is read anew.
 */
export class MetricsFollower {
  readonly #file: string
  #table = new MetricsTable()
  #metrics = NO_METRICS
  #inode = 0n
  /** Bytes and lines that have been read. */
  #offset = 0
  #lines = 0
  /** The last line that was read: where it no longer stands, the log was written anew. */
  #lastLine = Buffer.alloc(0)

  constructor(file: string) {
    this.#file = file
  }

  get metrics(): Metrics {
    return this.#metrics
  }

  /** Never rejects: of a log that cannot be read, what was read before stands. */
  async poll(): Promise<LogChange> {
    return this.#look().catch((cause: unknown) => ({
      from: undefined,
      problem: new FileAccessError('read', this.#file, cause).message,
    }))
  }

  async #look(): Promise<LogChange> {
    const before = this.#metrics
    let handle: FileHandle
    try {
      handle = await open(this.#file)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error
      this.#begin(0n)
      this.#metrics = NO_METRICS
      return { from: before.step[0], problem: undefined }
    }
    try {
      const { ino, size } = await handle.stat({ bigint: true })
      const isSame = ino === this.#inode && size >= this.#offset && (await this.#standsStill(handle))
      if (!isSame) this.#begin(ino)
      const lowest = { step: Number.POSITIVE_INFINITY }
      const problem = await this.#read(handle, lowest)
      if (isSame && lowest.step === Number.POSITIVE_INFINITY) return { from: undefined, problem }
      this.#metrics = this.#table.metrics()
      return { from: isSame ? lowest.step : firstDifference(before, this.#metrics), problem }
    } finally {
      await handle.close()
    }
  }

  #begin(inode: bigint): void {
    this.#table = new MetricsTable()
    this.#inode = inode
    this.#offset = 0
    this.#lines = 0
    this.#lastLine = Buffer.alloc(0)
  }

  /** Cut and written on to beyond its old length between two looks, a log is as long as one that only grew. */
  async #standsStill(handle: FileHandle): Promise<boolean> {
    const { length } = this.#lastLine
    const now = Buffer.alloc(length)
    await handle.read(now, 0, length, this.#offset - length)
    return now.equals(this.#lastLine)
  }

  /** Takes in all whole lines from where it was; notes the lowest step among them. Returns what is wrong with the next. */
  async #read(handle: FileHandle, lowest: { step: number }): Promise<string | undefined> {
    let rest = Buffer.alloc(0)
    for (;;) {
      const chunk = Buffer.alloc(CHUNK)
      const { bytesRead } = await handle.read(chunk, 0, CHUNK, this.#offset + rest.length)
      if (bytesRead === 0) return undefined
      rest = Buffer.concat([rest, chunk.subarray(0, bytesRead)])
      let begin = 0
      for (let end = rest.indexOf(NEWLINE); end >= 0; end = rest.indexOf(NEWLINE, begin)) {
        const line = rest.subarray(begin, end + 1)
        const text = line.toString('utf8', 0, line.length - 1)
        if (text.trim() !== '') {
          try {
            const row = parseMetricsLine(text, true, `${this.#file}:${this.#lines + 1}`)!
            this.#table.append(row)
            lowest.step = Math.min(lowest.step, row.step)
          } catch (error) {
            return (error as Error).message
          }
        }
        this.#lines++
        this.#offset += line.length
        this.#lastLine = Buffer.from(line)
        begin = end + 1
      }
      rest = rest.subarray(begin)
    }
  }
}

/** The first step at which two readings of a log differ; undefined where they are equal. */
function firstDifference(before: Metrics, now: Metrics): number | undefined {
  const rows = Math.max(before.step.length, now.step.length)
  for (let i = 0; i < rows; i++) {
    const isEqual =
      before.step[i] === now.step[i] &&
      METRICS.every((name) => Object.is(before.columns[name][i], now.columns[name][i]))
    if (!isEqual) return Math.min(before.step[i] ?? Number.POSITIVE_INFINITY, now.step[i] ?? Number.POSITIVE_INFINITY)
  }
  return undefined
}
