import * as z from 'zod'
import { parseConfiguration, whenNeeded } from './parse.ts'

const schema = whenNeeded(() => z.string('expected a path'))

/**
 * Of a program without types: Node's own refusal names neither what was called nor what it takes.
 *
 * @param what names it in the message: `the run of readRun`
 * @throws {ConfigurationError} where it is no text
 */
export function requirePath(path: unknown, what: string): void {
  parseConfiguration(schema(), path, what)
}
