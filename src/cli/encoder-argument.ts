/** `NAME=FILE`, or the name of what is built in. */
export function encoderOf(text: string): { name: string; file?: string } {
  const equals = text.indexOf('=')
  return equals < 0 ? { name: text } : { name: text.slice(0, equals), file: text.slice(equals + 1) }
}
