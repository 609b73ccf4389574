import type { TextStream } from '../../src/cli/style.ts'

/** A stream that remembers what was written to it. */
export class RecordingStream implements TextStream {
  text = ''
  readonly isTTY: boolean
  columns: number

  constructor({ isTTY = false, columns = 80 } = {}) {
    this.isTTY = isTTY
    this.columns = columns
  }

  write(text: string): void {
    this.text += text
  }

  /** What a terminal shows of it: carriage returns and "erase line" carried out, colours removed. */
  get screen(): string[] {
    const lines = ['']
    // biome-ignore lint/suspicious/noControlCharactersInRegex: the escape character is what begins a CSI sequence
    for (const part of this.text.replace(/\u001b\[[0-9;]*m/g, '').split(/(\r\u001b\[2K|\n)/)) {
      if (part === '\n') lines.push('')
      else if (part.startsWith('\r')) lines[lines.length - 1] = ''
      else lines[lines.length - 1] += part
    }
    return lines
  }
}
