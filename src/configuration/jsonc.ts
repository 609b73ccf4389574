/**
 * JSON with comments, `//` to the line's end and between slash and asterisk, as people write configurations. Comments become blanks, and so
 * does a byte order mark (RFC 8259, 8.1): a message about what is no JSON then names the place in the text as it was. Nothing else differs
 * from JSON: no comma may trail.
 *
 * @throws {SyntaxError} as JSON.parse throws
 */
export function parseJsonc(text: string): unknown {
  const parts = [text.startsWith('\ufeff') ? ' ' : '']
  let done = parts[0]!.length
  // What looks like a comment inside of a string is none.
  const beginning = /"|\/[/*]/g
  for (let found = beginning.exec(text); found; found = beginning.exec(text)) {
    const isString = found[0] === '"'
    const end = isString ? endOfString(text, found.index) : endOfComment(text, found.index)
    parts.push(text.slice(done, found.index))
    const piece = text.slice(found.index, end)
    parts.push(isString ? piece : blanked(piece))
    done = end
    beginning.lastIndex = end
  }
  return JSON.parse(parts.join('') + text.slice(done))
}

/** As long, with lines that end where they did. A regular expression that replaces each character takes seconds for some megabytes. */
function blanked(comment: string): string {
  return comment
    .split('\n')
    .map((line) => ' '.repeat(line.length))
    .join('\n')
}

/** Behind the quote that ends a string, or where its line ends: not by a regular expression, whose stack a long string overflows. */
function endOfString(text: string, begin: number): number {
  for (let i = begin + 1; i < text.length; i++) {
    const character = text[i]
    if (character === '"') return i + 1
    if (character === '\n') return i
    if (character === '\\') i++
  }
  return text.length
}

/** Behind a comment. */
function endOfComment(text: string, begin: number): number {
  const isLine = text[begin + 1] === '/'
  const end = text.indexOf(isLine ? '\n' : '*/', begin + 2)
  if (end < 0) return text.length
  return isLine ? end : end + 2
}
