import * as z from 'zod'
import { parseConfiguration, whenNeeded } from './parse.ts'

const schema = whenNeeded(() => z.string('expected a path').min(1, 'expected a path'))

/**
 * Of a program without types: Node's own refusal names neither what was called nor what it takes.
 *
 * @param what names it in the message: `the run of readRun`
 * @throws {ConfigurationError} where it is no text, or an empty one, which Node takes for the working directory
 */
export function requirePath(path: unknown, what: string): void {
  parseConfiguration(schema(), path, what)
}
