import { describeSystemError, explainSystemError } from '../formats/errors.ts'

/** The command line was wrong: exit status 2. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
}

/** The user, or the reader of stdout, has asked the command to stop: exit status 130. */
export class Interruption extends Error {
  override readonly name = 'AbortError'
}

/** One line that says what went wrong; errors of the operating system become sentences that name the file. */
export function describeFailure(failure: unknown): string {
  if (!(failure instanceof Error)) return oneLine(String(failure))
  const refusal = describeSystemError(failure)
  if (refusal !== undefined) return oneLine(`${refusal}.`)
  return oneLine(failure.message === '' ? failure.name : failure.message)
}

/** The line that says that what was to be read from stdout is lost. */
export function describeLostOutput(failure: NodeJS.ErrnoException): string {
  const reason = explainSystemError(failure, '/dev/stdout') ?? failure.message.replace(/\.$/, '')
  return oneLine(`cannot write to stdout: ${reason}.`)
}

/** Of text that may have come from a file: without line breaks, and without characters that a terminal would obey. */
export function oneLine(text: string): string {
  return text.replace(/[\s\p{Cc}]+/gu, ' ').trim()
}
