import { ConfigurationError } from './parse.ts'

export interface JsonOptions {
  /** What reads the text. Default: JSON.parse. */
  readonly parse?: (text: string) => unknown
  /** What to do about a text that is none, as the message ends. */
  readonly advice?: string
}

/**
 * The value of a text of JSON, which has not been checked yet. `what` names it in the message: a file's path, or where in a file it
 * stands.
 *
 * @throws {ConfigurationError} where it is none, with the parser's reason
 */
export function parseJson(text: string, what: string, { parse = JSON.parse, advice }: JsonOptions = {}): unknown {
  try {
    return parse(text)
  } catch (cause) {
    const reason = `${what} is not JSON: ${(cause as Error).message}`
    throw new ConfigurationError(advice === undefined ? `${reason}.` : `${reason}; ${advice}.`, { cause })
  }
}
