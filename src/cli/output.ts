import { columnsOf, isTerminal, type Style, styleFor, type TextStream } from './style.ts'
import { type Column, tableLines } from './table.ts'

export interface OutputOptions {
  readonly stdout: TextStream
  readonly stderr: TextStream
  readonly env: Readonly<Record<string, string | undefined>>
  readonly json: boolean
  readonly quiet: boolean
  /** How a sentence for humans, which may be the library's, is put to them. Default: as it is. */
  readonly wording?: (sentence: string) => string
}

/**
 * What a command says. Humans read stderr; stdout carries nothing but the JSON of `--json`. `--quiet` and `--json` silence
 * everything for humans but warnings and errors (with `--json` the same facts stand in the objects).
 */
export class Output {
  /** Colours for stderr. */
  readonly style: Style
  /** Whether `json` writes: a command that must compute something for it alone asks this first. */
  readonly isJson: boolean
  /** Whether lines for humans are wanted. */
  readonly isVerbose: boolean
  /** Whether a status line can be redrawn in place. */
  readonly isTerminal: boolean
  readonly #stdout: TextStream
  readonly #stderr: TextStream
  readonly #wording: (sentence: string) => string
  #status = ''
  #isSilent = false

  constructor({ stdout, stderr, env, json, quiet, wording = (sentence) => sentence }: OutputOptions) {
    this.#stdout = stdout
    this.#stderr = stderr
    this.#wording = wording
    this.isJson = json
    this.isVerbose = !json && !quiet
    this.isTerminal = isTerminal(stderr, env)
    this.style = styleFor(stderr, env)
  }

  get columns(): number {
    return columnsOf(this.#stderr)
  }

  /** From now on nothing is said but why the command fails: another process speaks for this one. */
  silence(): void {
    this.#isSilent = true
  }

  /** A line for the human. */
  line(text = ''): void {
    if (this.isVerbose) this.#write(this.#wording(text))
  }

  /** An aligned table for the human. */
  table(columns: readonly Column[], rows: readonly (readonly string[])[]): void {
    if (!this.isVerbose) return
    const [heading, ...body] = tableLines(columns, rows)
    this.#write([this.style.bold(heading!), ...body].join('\n'))
  }

  /** A line that even `--quiet` and `--json` do not silence. */
  warn(text: string): void {
    this.#write(`${this.style.yellow('warning')}: ${this.#wording(text)}`)
  }

  /** A line that the human has asked for by a flag of its own: neither `--quiet` nor `--json` silences it. */
  log(text: string): void {
    this.#write(text)
  }

  /** One JSON object on a line of its own on stdout; does nothing without `--json`. */
  json(value: object): void {
    if (this.isJson && !this.#isSilent) this.#stdout.write(`${JSON.stringify(value)}\n`)
  }

  /** Shows a line that stays below all others until it is replaced, or removed with ''. Terminals only. */
  status(text: string): void {
    if (!this.isVerbose || this.#isSilent || !this.isTerminal || text === this.#status) return
    this.#stderr.write(ERASE_LINE + text)
    this.#status = text
  }

  /** Leaves the terminal's last line as it was found. */
  close(): void {
    this.status('')
  }

  #write(text: string): void {
    if (this.#isSilent) return
    if (this.#status === '') this.#stderr.write(`${text}\n`)
    else this.#stderr.write(`${ERASE_LINE}${text}\n${this.#status}`)
  }
}

// Carriage return, then ECMA-48 "erase in line": the cursor stands at the start of an empty line.
const ERASE_LINE = '\r\u001b[2K'
