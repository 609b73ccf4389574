import type { Points } from './curve.ts'

/** The names of what a run logs at each step. */
export const METRICS = [
  'loss',
  'denoising',
  'vb',
  'velocityCosine',
  'alignment',
  'attentionAlignment',
  'selfAlignment',
  'dispersive',
  'contrastive',
  'classToken',
  'view_information',
  'teacher_entropy',
  'teacher_kl_uniform',
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

/** A run's finite values by the metric's name, as far as the run logged them. */
export type RunPoints = Readonly<Record<MetricName, Points>>

/** One line of `metrics.jsonl`: null or nothing where there is no (finite) value. */
export type MetricsRow = { readonly step: number } & Readonly<Partial<Record<MetricName, number | null>>>

/** Columns that grow by doubling, so that 400,000 lines cost 30 MB and not as many objects. */
export class MetricsTable {
  #rows = 0
  #ordered = true
  #step = new Float64Array(1024)
  readonly #columns = Object.fromEntries(METRICS.map((name) => [name, new Float64Array(1024)])) as Record<
    MetricName,
    Float64Array
  >

  append(line: MetricsRow): void {
    const row = this.#rows++
    if (row === this.#step.length) {
      this.#step = doubled(this.#step)
      for (const name of METRICS) this.#columns[name] = doubled(this.#columns[name])
    }
    if (row > 0 && line.step <= this.#step[row - 1]!) this.#ordered = false
    this.#step[row] = line.step
    for (const name of METRICS) this.#columns[name][row] = line[name] ?? Number.NaN
  }

  /** The rows so far, which later ones leave as they are: of several rows of one step the last appended. */
  metrics(): Metrics {
    if (this.#ordered) return this.#select((column) => column.subarray(0, this.#rows))
    // Sorting is stable, so of the rows of one step the last written comes last.
    const order = Uint32Array.from({ length: this.#rows }, (_, row) => row)
    order.sort((a, b) => this.#step[a]! - this.#step[b]! || a - b)
    const kept = order.filter((row, i) => i + 1 === order.length || this.#step[order[i + 1]!] !== this.#step[row])
    return this.#select((column) => Float64Array.from(kept, (row) => column[row]!))
  }

  #select(select: (column: Float64Array) => Float64Array): Metrics {
    const columns = Object.fromEntries(METRICS.map((name) => [name, select(this.#columns[name])]))
    return { step: select(this.#step), columns: columns as Record<MetricName, Float64Array> }
  }
}

/** What a run has that has not logged a step. */
export const NO_METRICS: Metrics = new MetricsTable().metrics()

function doubled(column: Float64Array): Float64Array<ArrayBuffer> {
  const larger = new Float64Array(column.length * 2)
  larger.set(column)
  return larger
}
