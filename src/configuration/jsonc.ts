/**
 * JSON with comments, `//` to the line's end and between slash and asterisk, as people write configurations. Comments become blanks, and so
 * does a byte order mark (RFC 8259, 8.1): a message about what is no JSON then names the place in the text as it was. Nothing else differs
 * from JSON: no comma may trail.
 *
 * @throws {SyntaxError} as JSON.parse throws
 */
export function parseJsonc(text: string): unknown {
  // A string comes first, for what looks like a comment inside of it is none.
  const blanked = text.replace(/^\ufeff|"(?:\\.|[^"\\\n])*"|\/\/[^\n]*|\/\*[\s\S]*?\*\//g, (match) =>
    match.startsWith('"') ? match : match.replace(/[^\n]/g, ' '),
  )
  return JSON.parse(blanked)
}
