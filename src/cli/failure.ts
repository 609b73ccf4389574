/** The command line was wrong: exit status 2. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
}

/** The user, or the reader of stdout, has asked the command to stop: exit status 130. */
export class Interruption extends Error {
  override readonly name = 'AbortError'
}

const SYSTEM_ERRORS: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such file or folder; check the path',
  EACCES: 'permission denied; check who owns it and its mode',
  EPERM: 'the operation is not permitted; check who owns it and its mode',
  ENOSPC: 'the disk is full; free some space and run again',
  EDQUOT: 'the disk quota is used up; free some space and run again',
  EROFS: 'the file system is read-only; choose another place',
  EISDIR: 'it is a folder, and a file is wanted',
  ENOTDIR: 'it is a file, and a folder is wanted',
  EEXIST: 'it exists already; remove it or choose another name',
  EMFILE: 'too many files are open; raise the limit (ulimit -n)',
  EADDRINUSE: 'the port is taken; choose another',
}

/** One line that says what went wrong; errors of the operating system become sentences that name the file. */
export function describeFailure(failure: unknown): string {
  if (!(failure instanceof Error)) return oneLine(String(failure))
  const { code, path, dest } = failure as NodeJS.ErrnoException & { dest?: string }
  const advice = code === undefined ? undefined : SYSTEM_ERRORS[code]
  // Only errors that the file system itself made carry a syscall: a library's own sentence stays as it is.
  if (advice !== undefined && 'syscall' in failure && path !== undefined) return oneLine(`${dest ?? path}: ${advice}.`)
  return oneLine(failure.message === '' ? failure.name : failure.message)
}

/** The line that says that what was to be read from stdout is lost. */
export function describeLostOutput({ code, message }: NodeJS.ErrnoException): string {
  const reason = (code === undefined ? undefined : SYSTEM_ERRORS[code]) ?? message.replace(/\.$/, '')
  return oneLine(`cannot write to stdout: ${reason}.`)
}

/** Of text that may have come from a file: without line breaks, and without characters that a terminal would obey. */
export function oneLine(text: string): string {
  return text.replace(/[\s\p{Cc}]+/gu, ' ').trim()
}
