import { ConfigurationError } from './parse.ts'

export interface JsonOptions {
  /** What reads the text. Default: JSON.parse. */
  readonly parse?: (text: string) => unknown
  /** What to do about a text that is none, as the message ends. */
  readonly advice?: string
}

/** The value of a text of JSON. A byte order mark before it is ignored, as RFC 8259 (8.1) has it. Throws what the parser throws. */
export function valueOfJson(text: string, parse: (text: string) => unknown = JSON.parse): unknown {
  // A blank, so that a message about what is no JSON names the place in the text as it was.
  return parse(text.replace(/^\ufeff/, ' '))
}

/**
 * The value of a text of JSON (`valueOfJson`), which has not been checked yet. `what` names it in the message: a file's path, or where in
 * a file it stands.
 *
 * @throws {ConfigurationError} where it is none, with the parser's reason
 */
export function parseJson(text: string, what: string, { parse, advice }: JsonOptions = {}): unknown {
  try {
    return valueOfJson(text, parse)
  } catch (cause) {
    const reason = `${what} is not JSON: ${(cause as Error).message}`
    throw new ConfigurationError(advice === undefined ? `${reason}.` : `${reason}; ${advice}.`, { cause })
  }
}
