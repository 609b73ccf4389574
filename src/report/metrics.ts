import { createReadStream } from 'node:fs'
import { z } from 'zod'

/** One line of `metrics.jsonl`. JSON has no NaN or infinity: a value that was not finite is written as null. */
const value = z.number().nullable()
// Not a strict object: a report must be able to read runs of a later version that logs more.
const MetricsLine = z.object({
  step: z.int().nonnegative(),
  loss: value,
  denoising: value,
  vb: value.optional(),
  alignment: value.optional(),
  gradNorm: value,
  lr: value,
  imagesPerSecond: value,
  seconds: value,
  skipped: z.int().nonnegative().optional(),
})
type MetricsLine = z.infer<typeof MetricsLine>

/** The names of what a run logs at each step. */
export const METRICS = [
  'loss',
  'denoising',
  'vb',
  'alignment',
  'gradNorm',
  'lr',
  'imagesPerSecond',
  'seconds',
  'skipped',
] as const
export type MetricName = (typeof METRICS)[number]

/** A run's metrics by column, ordered by step, each step once. NaN where a line had no (finite) value. */
export interface Metrics {
  readonly step: Float64Array
  readonly columns: Readonly<Record<MetricName, Float64Array>>
}

/**
 * Reads `metrics.jsonl` as a stream. A step that stands there several times (a run resumed from before it) counts as its
 * last line says. A last line that was cut off in the middle of writing is ignored.
 *
 * @throws Error naming the file and the line that is no JSON or not of the right form; ENOENT where there is no file.
 */
export async function readMetrics(file: string): Promise<Metrics> {
  const table = new ColumnTable()
  let number = 0
  for await (const { text, complete } of linesOf(file)) {
    number++
    if (text.trim() === '') continue
    const line = parseLine(text, complete, `${file}:${number}`)
    if (line !== undefined) table.append(line)
  }
  return table.finish()
}

/** Undefined for a torn last line. */
function parseLine(text: string, complete: boolean, where: string): MetricsLine | undefined {
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch {
    if (!complete) return undefined
    throw new Error(`${where}: expected a JSON object, got '${text.slice(0, 60)}'; remove the line.`)
  }
  const checked = MetricsLine.safeParse(json)
  if (checked.success) return checked.data
  const issue = checked.error.issues[0]!
  const field = issue.path.length > 0 ? `'${issue.path.join('.')}': ` : ''
  throw new Error(`${where}: ${field}${issue.message}; expected a line as 'repa train' writes it.`)
}

/** Lines of a UTF-8 file; `complete` is false for a last line without its newline. */
async function* linesOf(file: string): AsyncGenerator<{ text: string; complete: boolean }> {
  let rest = ''
  for await (const chunk of createReadStream(file, { encoding: 'utf8', highWaterMark: 1 << 18 })) {
    const lines = (rest + chunk).split('\n')
    rest = lines.pop()!
    for (const text of lines) yield { text, complete: true }
  }
  if (rest !== '') yield { text: rest, complete: false }
}

/** Columns that grow by doubling, so that 400,000 lines cost 30 MB and not as many objects. */
class ColumnTable {
  #rows = 0
  #ordered = true
  #step = new Float64Array(1024)
  readonly #columns = Object.fromEntries(METRICS.map((name) => [name, new Float64Array(1024)])) as Record<
    MetricName,
    Float64Array
  >

  append(line: MetricsLine): void {
    const row = this.#rows++
    if (row === this.#step.length) {
      this.#step = doubled(this.#step)
      for (const name of METRICS) this.#columns[name] = doubled(this.#columns[name])
    }
    if (row > 0 && line.step <= this.#step[row - 1]!) this.#ordered = false
    this.#step[row] = line.step
    for (const name of METRICS) this.#columns[name][row] = line[name] ?? Number.NaN
  }

  finish(): Metrics {
    if (this.#ordered) {
      const cut = (column: Float64Array) => column.slice(0, this.#rows)
      return this.#metrics(cut)
    }
    // Sorting is stable, so of the rows of one step the last written comes last.
    const order = Uint32Array.from({ length: this.#rows }, (_, row) => row)
    order.sort((a, b) => this.#step[a]! - this.#step[b]! || a - b)
    const kept = order.filter((row, i) => i + 1 === order.length || this.#step[order[i + 1]!] !== this.#step[row])
    return this.#metrics((column) => Float64Array.from(kept, (row) => column[row]!))
  }

  #metrics(select: (column: Float64Array) => Float64Array): Metrics {
    const columns = Object.fromEntries(METRICS.map((name) => [name, select(this.#columns[name])]))
    return { step: select(this.#step), columns: columns as Record<MetricName, Float64Array> }
  }
}

function doubled(column: Float64Array): Float64Array<ArrayBuffer> {
  const larger = new Float64Array(column.length * 2)
  larger.set(column)
  return larger
}
