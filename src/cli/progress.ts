import { formatCount, formatDuration, formatSignificant } from '../report/quantity.ts'
import type { Output } from './output.ts'

export interface ProgressOptions {
  /** What is going on: `train`. */
  readonly label: string
  /** What is counted, in the plural: `steps`. */
  readonly unit: string
  /** Units of the whole job; without it there is neither a bar nor an ETA. */
  readonly total?: number
  /** Units done before this process started (a resumed run); they do not count for the rate. */
  readonly initial?: number
}

/** Shown beside the bar, in the order given: `{ loss: 0.812 }`. */
export type ProgressFields = Readonly<Record<string, number | string>>

const REDRAW_MS = 100
const PLAIN_LINE_MS = 5000
const RATE_WINDOW_MS = 15_000

/**
 * Progress of one job: a bar on a terminal's last line, a plain line every few seconds elsewhere, nothing with `--quiet`
 * or `--json`. Cheap enough to call at every step.
 */
export class Progress implements Disposable {
  readonly #out: Output
  readonly #options: ProgressOptions
  readonly #now: () => number
  #startedAt: number
  /** (time, done) over the last `RATE_WINDOW_MS`, so that the rate follows the present and not the start's warm-up. */
  readonly #window: { time: number; done: number }[]
  #done: number
  #fields: ProgressFields = {}
  #shownAt: number
  #pausedAt: number | undefined
  #ended = false

  constructor(out: Output, options: ProgressOptions, now: () => number = () => performance.now()) {
    this.#out = out
    this.#options = options
    this.#now = now
    this.#startedAt = now()
    this.#done = options.initial ?? 0
    this.#window = [{ time: this.#startedAt, done: this.#done }]
    // The first update draws at once on a terminal; plain lines wait their few seconds.
    this.#shownAt = out.isTerminal ? Number.NEGATIVE_INFINITY : this.#startedAt
  }

  /** Units done so far, the initial ones included. Fields that are not given keep their last value. */
  update(done: number, fields: ProgressFields = {}): void {
    if (this.#ended || !this.#out.isVerbose) return
    const time = this.#now()
    this.#done = done
    this.#fields = { ...this.#fields, ...fields }
    if (time - this.#shownAt < (this.#out.isTerminal ? REDRAW_MS : PLAIN_LINE_MS)) return
    this.#shownAt = time
    this.#window.push({ time, done })
    while (this.#window.length > 2 && time - this.#window[1]!.time >= RATE_WINDOW_MS) this.#window.shift()
    if (this.#out.isTerminal) this.#out.status(this.#barLine(this.#out.columns - 1))
    else this.#out.line(this.#plainLine())
  }

  /** What goes on until `resume`, or to the end, is none of what is counted: it takes no part in time, rate and ETA. */
  pause(): void {
    this.#pausedAt ??= this.#now()
  }

  resume(): void {
    if (this.#pausedAt === undefined) return
    const pause = this.#now() - this.#pausedAt
    this.#pausedAt = undefined
    this.#startedAt += pause
    for (const entry of this.#window) entry.time += pause
  }

  /** Removes the bar and leaves one line that says what was done, how long it took and how fast it was; of nothing none. */
  end(): void {
    if (this.#ended) return
    this.#ended = true
    this.resume()
    this.#out.status('')
    if (this.#done === 0) return
    const seconds = (this.#now() - this.#startedAt) / 1000
    const { label, unit, initial = 0 } = this.#options
    const rate = seconds > 0 ? (this.#done - initial) / seconds : 0
    const parts = [`${label}: ${this.#count()} ${unit} in ${formatDuration(seconds)}`]
    if (rate > 0) parts.push(`${formatSignificant(rate, 3)} ${unit}/s`)
    this.#out.line([...parts, ...this.#fieldTexts()].join(' · '))
  }

  [Symbol.dispose](): void {
    this.end()
  }

  #count(): string {
    const { total } = this.#options
    return total === undefined ? formatCount(this.#done) : `${formatCount(this.#done)}/${formatCount(total)}`
  }

  #fraction(): number {
    const { total } = this.#options
    return total === undefined || total <= 0 ? 0 : Math.min(1, Math.max(0, this.#done / total))
  }

  #rateTexts(): string[] {
    const first = this.#window[0]!
    const last = this.#window.at(-1)!
    const rate = last.time > first.time ? ((last.done - first.done) / (last.time - first.time)) * 1000 : 0
    if (!(rate > 0)) return []
    const { total, unit } = this.#options
    const texts = [`${formatSignificant(rate, 3)} ${unit}/s`]
    if (total !== undefined && this.#done < total) texts.push(`ETA ${formatDuration((total - this.#done) / rate)}`)
    return texts
  }

  #fieldTexts(): string[] {
    return Object.entries(this.#fields).map(([name, value]) => `${name} ${shown(value)}`)
  }

  #plainLine(): string {
    const { label, unit, total } = this.#options
    const share = total === undefined ? [] : [`${Math.floor(this.#fraction() * 100)} %`]
    const head = [`${label}: ${this.#count()} ${unit}`, ...share]
    return [...head, ...this.#rateTexts(), ...this.#fieldTexts()].join(' · ')
  }

  /** The most that fits: what matters least (the last field) goes first, then the rate and ETA, then the bar. */
  #barLine(width: number): string {
    const { label, total, unit } = this.#options
    const count = total === undefined ? `${this.#count()} ${unit}` : this.#count()
    const head = total === undefined ? [label, count] : [label, `${Math.floor(this.#fraction() * 100)} %`, count]
    const extras = [...this.#rateTexts(), ...this.#fieldTexts()]
    while (extras.length > 0 && joined([...head, ...extras]).length > width) extras.pop()
    const text = joined([...head, ...extras])
    if (text.length > width) return [...text].slice(0, Math.max(0, width)).join('')
    const room = Math.min(30, width - text.length - 2)
    if (total === undefined || room < 8) return text
    const shown = [this.#bar(room), ...head.slice(1), ...extras]
    return `${this.#out.style.bold(label)}  ${joined(shown)}`
  }

  /** A bar in eighths of a character. */
  #bar(width: number): string {
    const eighths = Math.round(this.#fraction() * width * 8)
    const partial = ' ▏▎▍▌▋▊▉'[eighths % 8]!
    const bar = '█'.repeat(eighths >> 3) + (eighths % 8 === 0 ? '' : partial)
    return this.#out.style.cyan(bar) + this.#out.style.dim('·'.repeat(width - bar.length))
  }
}

/** A whole number is a count. */
function shown(value: number | string): string {
  if (typeof value === 'string') return value
  return Number.isSafeInteger(value) ? formatCount(value) : formatSignificant(value, 4)
}

function joined(parts: readonly string[]): string {
  return parts.join('  ')
}
