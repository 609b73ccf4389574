import { existsSync } from 'node:fs'
import { getSystemErrorMap } from 'node:util'

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
    const known = hasNoFolder ? NO_FOLDER : explainSystemError(cause, path)
    const problem = known === undefined ? messageOf(cause).replace(/\.$/, '') : `${known} (${code})`
    super(code === 'ENOENT' && missing !== undefined ? missing : `Cannot ${action} ${path}: ${problem}.`, { cause })
    this.name = 'FileAccessError'
    this.path = path
    this.code = code
  }
}

const NO_FOLDER = 'the folder that it is to lie in is not there; make it, or choose another'

/** What the codes mean, and what to do about them, to read on after the path. */
const EXPLANATIONS: Readonly<Record<string, string>> = {
  EACCES: 'permission denied; check who owns it and its mode',
  EADDRINUSE: 'the port is taken; choose another',
  EDQUOT: 'the disk quota is used up; free some space and try again',
  EEXIST: 'it exists already; remove it or choose another name',
  EFBIG:
    'the file grew past the largest size that is allowed here; raise the limit (ulimit -f) or choose another place',
  EIO: 'the disk reported an input/output error; see whether it is sound',
  EISDIR: 'it is a folder, and a file is wanted',
  ELOOP: 'its symbolic links lead in a circle, or are too many; see where they lead',
  EMFILE: 'this process has too many files open; raise the limit (ulimit -n) and try again',
  EMLINK: 'the file system takes no more links or folders there; choose another place',
  ENAMETOOLONG: 'the path, or a name in it, is too long for the file system; choose a shorter one',
  ENFILE: 'all processes together have too many files open; end some and try again',
  ENOENT: 'there is no such file or folder; check the path',
  ENOSPC: 'the disk is full; free some space and try again',
  ENOTDIR: 'a part of the path is a file, and a folder is wanted',
  EPERM: 'the operation is not permitted; check who owns it and its mode',
  EROFS: 'the file system is read-only; choose another place',
  ESTALE: 'the file server does not know it any more; mount its file system again',
  ETXTBSY: 'a process is running it; end that, or choose another name',
}

/**
 * What a refusal of the operating system means, in words that read on after the path, without a full stop: the cause and what to do. A code
 * that nobody foresaw has the system's own words, without the path and the call that Node adds. Undefined where the error is none of the
 * system's.
 *
 * @param path what was refused
 */
export function explainSystemError(error: unknown, path: string): string | undefined {
  const code = systemErrorCode(error)
  if (code === undefined) return undefined
  // The system does not say whether it means the path itself, which was to be listed, or one above it.
  if (code === 'ENOTDIR' && existsSync(path)) return 'it is a file, and a folder is wanted'
  const { errno } = error as NodeJS.ErrnoException
  return EXPLANATIONS[code] ?? (errno === undefined ? undefined : getSystemErrorMap().get(errno)?.[1])
}

/** The same in words that name the path, of an error that Node's file system made of it; undefined of another. */
export function describeSystemError(error: unknown): string | undefined {
  if (!(error instanceof Error && 'syscall' in error)) return undefined
  const { path, dest } = error as NodeJS.ErrnoException & { dest?: string }
  const place = dest ?? path
  const explanation = place === undefined ? undefined : explainSystemError(error, place)
  return explanation && `${place}: ${explanation}`
}

function systemErrorCode(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined
}

/** What was thrown, in its own words. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
