/**
 * The values that a pickle's instructions spell out. Each function throws a RangeError which says what is wrong with
 * the text or bytes.
 */

/** Python's own limit on the digits of a decimal integer (sys.int_info); conversion takes quadratic time. */
const MAX_INTEGER_DIGITS = 4300
const MAX_INTEGER_BYTES = 2048
/** Python's repr of a float has at most 24 characters; other writers may pad. */
const MAX_FLOAT_LENGTH = 64

/** The text of an INT or LONG. */
export function decimalInteger(text: string): number | bigint {
  if (!/^[+-]?\d+$/.test(text)) throw new RangeError('an integer is no number: the pickle is damaged.')
  if (text.length > MAX_INTEGER_DIGITS) throw new RangeError(`an integer of ${text.length} digits is not read.`)
  return narrowed(BigInt(text))
}

/** The little-endian two's complement of a LONG1 or LONG4. */
export function binaryInteger(bytes: Uint8Array): number | bigint {
  if (bytes.length > MAX_INTEGER_BYTES) throw new RangeError(`an integer of ${bytes.length} bytes is not read.`)
  if (bytes.length === 0) return 0
  const unsigned = BigInt(`0x${Buffer.from(bytes).reverse().toString('hex')}`)
  return narrowed(BigInt.asIntN(8 * bytes.length, unsigned))
}

/** The text of a FLOAT: Python's repr. */
export function decimalFloat(text: string): number {
  const special = /^([+-]?)(inf|nan)$/.exec(text)
  if (special) return special[2] === 'nan' ? Number.NaN : (special[1] === '-' ? -1 : 1) * Number.POSITIVE_INFINITY
  if (text.length > MAX_FLOAT_LENGTH || !/^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text)) {
    throw new RangeError('a float is no number: the pickle is damaged.')
  }
  return Number(text)
}

const ESCAPES: Readonly<Record<string, string>> = { n: '\n', r: '\r', t: '\t', '\\': '\\', "'": "'", '"': '"' }

/** The text of a STRING: Python 2's repr of a str. */
export function quotedString(text: string): string | Uint8Array {
  const quoted = /^(["'])(.*)\1$/s.exec(text)
  if (!quoted) throw new RangeError('text lacks its quotes: the pickle is damaged.')
  const plain = quoted[2]!.replace(
    /\\(x[0-9a-fA-F]{2}|[0-7]{1,3}|.)/gs,
    (_, code: string) => ESCAPES[code] ?? escapedByte(code),
  )
  return python2String(Buffer.from(plain, 'latin1'))
}

function escapedByte(code: string): string {
  if (/^x./.test(code)) return String.fromCharCode(Number.parseInt(code.slice(1), 16))
  if (/^[0-7]/.test(code)) return String.fromCharCode(Number.parseInt(code, 8) & 0xff)
  return `\\${code}`
}

/** The text of a UNICODE (Python's raw-unicode-escape): Latin-1 but for \uXXXX and \UXXXXXXXX. */
export function rawUnicodeEscape(text: string): string {
  return text.replace(
    /\\u([0-9a-fA-F]{4})|\\U00(0[0-9a-fA-F]{5}|10[0-9a-fA-F]{4})/g,
    (_, short?: string, long?: string) => String.fromCodePoint(Number.parseInt(short ?? long!, 16)),
  )
}

const strictUtf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** Python 2's str was both text and bytes: text where it can be. */
export function python2String(bytes: Uint8Array): string | Uint8Array {
  try {
    return strictUtf8.decode(bytes)
  } catch {
    return new Uint8Array(bytes)
  }
}

const lenientUtf8 = new TextDecoder('utf-8', { ignoreBOM: true })

/** Python 3's str. A lone surrogate, which Python lets pass, becomes U+FFFD. */
export function utf8String(bytes: Uint8Array): string {
  return lenientUtf8.decode(bytes)
}

/** Latin-1, which maps each byte to one character. */
export function latin1String(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('latin1')
}

function narrowed(value: bigint): number | bigint {
  const number = Number(value)
  return Number.isSafeInteger(number) ? number : value
}
