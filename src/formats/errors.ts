/** A file whose bytes are not what its format says: damaged, hostile, or of a kind that is not supported. */
export class FileFormatError extends Error {
  readonly path: string
  /** What is wrong, to read on after the path: `weights.pt: tensor "x" …`. */
  readonly problem: string

  constructor(path: string, problem: string, options?: ErrorOptions) {
    super(`${path}: ${problem}`, options)
    this.name = 'FileFormatError'
    this.path = path
    this.problem = problem
  }
}

/** A file that the operating system would not open, read or write. `code` is the system's (`ENOSPC`, `EACCES`, …). */
export class FileAccessError extends Error {
  readonly path: string
  readonly code: string | undefined

  /** @param missing the sentence of a reader that knows what was expected where there is nothing */
  constructor(action: 'read' | 'write', path: string, cause: unknown, missing?: string) {
    const code = systemErrorCode(cause)
    // A file that is written need not be there: what is missing is its folder.
    const hasNoFolder = action === 'write' && code === 'ENOENT'
    const sentence = `Cannot ${action} ${path}: ${hasNoFolder ? NO_FOLDER : describe(code, cause)}.`
    super(code === 'ENOENT' && missing !== undefined ? missing : sentence, { cause })
    this.name = 'FileAccessError'
    this.path = path
    this.code = code
  }
}

const NO_FOLDER = 'the folder that it is to lie in is not there; make it, or choose another (ENOENT)'

/** What the codes mean to someone who has to do something about them. */
const CAUSES: Readonly<Record<string, string>> = {
  EACCES: 'permission denied',
  EDQUOT: 'the disk quota is used up',
  EFBIG: 'the file grew past the largest size that is allowed here',
  EIO: 'the disk reported an input/output error',
  EISDIR: 'it is a directory',
  EMFILE: 'this process has too many files open; raise the limit (ulimit -n) and try again',
  ENOENT: 'no such file or directory',
  ENOSPC: 'the disk is full; free some space and try again',
  ENOTDIR: 'a part of the path is not a directory',
  EPERM: 'permission denied',
  EROFS: 'the file system is read-only',
}

function systemErrorCode(cause: unknown): string | undefined {
  return cause instanceof Error && 'code' in cause && typeof cause.code === 'string' ? cause.code : undefined
}

function describe(code: string | undefined, cause: unknown): string {
  const known = code === undefined ? undefined : CAUSES[code]
  if (known !== undefined) return `${known} (${code})`
  return cause instanceof Error ? cause.message.replace(/\.$/, '') : String(cause)
}
