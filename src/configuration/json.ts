import { ConfigurationError } from './parse.ts'

/**
 * The value of a text of JSON, which has not been checked yet. `what` names it in the message: a file's path, or where in a file it
 * stands.
 *
 * @throws {ConfigurationError} where it is none, with the parser's reason
 */
export function parseJson(text: string, what: string, parse: (text: string) => unknown = JSON.parse): unknown {
  try {
    return parse(text)
  } catch (cause) {
    throw new ConfigurationError(`${what} is not JSON: ${(cause as Error).message}.`, { cause })
  }
}
