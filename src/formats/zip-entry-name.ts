/** Characters 0x80 to 0xff of code page 437, which names without the UTF-8 flag are in (APPNOTE.TXT, appendix D). */
const CODE_PAGE_437 =
  'ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐' +
  '└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■\u00a0'

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** An entry's name. Many writers use UTF-8 without saying so, hence code page 437 only where the bytes are not UTF-8. */
export function decodeEntryName(bytes: Uint8Array, declaredUtf8: boolean): string {
  try {
    return utf8.decode(bytes)
  } catch (error) {
    if (declaredUtf8) throw error
    return Array.from(bytes, (byte) => (byte < 0x80 ? String.fromCharCode(byte) : CODE_PAGE_437[byte - 0x80])).join('')
  }
}

/** What makes a name unsafe as a path below a folder, and how to say it. */
const FAULTS: readonly (readonly [pattern: RegExp, fault: string])[] = [
  [/^$/, 'is empty'],
  [/^\//, 'is an absolute path'],
  [/^[a-z]:/i, 'has a drive letter'],
  [/\\/, 'has a backslash'],
  [/\0/, 'has a NUL character'],
  [/(^|\/)\.\.(\/|$)/, 'leads out of its folder by ".."'],
]

/**
 * Returns the name if it is safe to use as a path below a folder; entry names are otherwise raw, and an archive may hold
 * any. @throws RangeError for absolute paths, drive letters, backslashes, NUL and `..`, which could lead out of it.
 */
export function safeEntryName(name: string): string {
  for (const [pattern, fault] of FAULTS) {
    if (pattern.test(name)) {
      throw new RangeError(`The archive's entry ${JSON.stringify(name)} ${fault}; it is not safe to unpack.`)
    }
  }
  return name
}
