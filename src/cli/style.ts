/** Text in the terminal's own colours; every function returns its text as it is where colours are off. */
export interface Style {
  bold(text: string): string
  dim(text: string): string
  red(text: string): string
  green(text: string): string
  yellow(text: string): string
  cyan(text: string): string
}

/** A stream that text is written to: `process.stdout`, `process.stderr`, or a test's own. */
export interface TextStream {
  write(text: string): unknown
  readonly isTTY?: boolean | undefined
  readonly columns?: number | undefined
}

/** A terminal that obeys escape codes. */
export function isTerminal(stream: TextStream, env: Readonly<Record<string, string | undefined>>): boolean {
  return stream.isTTY === true && env.TERM !== 'dumb'
}

/** Colours only on a terminal that can show them, and not where NO_COLOR (https://no-color.org) is set to anything. */
export function styleFor(stream: TextStream, env: Readonly<Record<string, string | undefined>>): Style {
  const on = isTerminal(stream, env) && !env.NO_COLOR
  // ECMA-48 "select graphic rendition": a code to begin with, a code that ends just that.
  const rendition = (begin: number, end: number) => (text: string) =>
    on ? `\u001b[${begin}m${text}\u001b[${end}m` : text
  return {
    bold: rendition(1, 22),
    dim: rendition(2, 22),
    red: rendition(31, 39),
    green: rendition(32, 39),
    yellow: rendition(33, 39),
    cyan: rendition(36, 39),
  }
}

/** Columns of a stream's terminal; 80 where there is none, or none that knows its size: a pseudo-terminal says 0 until it is given one. */
export function columnsOf(stream: TextStream): number {
  return stream.isTTY === true && stream.columns ? stream.columns : 80
}
