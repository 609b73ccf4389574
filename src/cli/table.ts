/** A column of a table: its heading, and `right` for numbers. */
export interface Column {
  readonly heading: string
  readonly align?: 'left' | 'right'
}

// CSI sequences (colours) take no room on the screen.
// biome-ignore lint/suspicious/noControlCharactersInRegex: the escape character is what begins a CSI sequence
const CONTROL_SEQUENCE = /\u001b\[[0-9;]*m/g

/** Characters that a text takes on the screen. */
function displayWidth(text: string): number {
  return [...text.replace(CONTROL_SEQUENCE, '')].length
}

/** Lines of an aligned table, two spaces between columns, headings first; cells may carry colours. */
export function tableLines(columns: readonly Column[], rows: readonly (readonly string[])[]): string[] {
  const lines = [columns.map(({ heading }) => heading), ...rows]
  const widths = columns.map((_, c) => Math.max(...lines.map((cells) => displayWidth(cells[c] ?? ''))))
  return lines.map((cells) =>
    columns
      .map(({ align }, c) => {
        const cell = cells[c] ?? ''
        const space = ' '.repeat(widths[c]! - displayWidth(cell))
        return align === 'right' ? space + cell : cell + space
      })
      .join('  ')
      .trimEnd(),
  )
}
