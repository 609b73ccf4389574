import { mkdir, readlink, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { FileAccessError } from './errors.ts'

/** What making a folder needs of a file system; a test can stand in for Node's. */
export interface FolderFileSystem {
  mkdir(path: string, options?: { recursive: true }): Promise<unknown>
  readlink(path: string): Promise<string>
  stat(path: string): Promise<unknown>
}

/**
 * Makes a folder that is to be written to, and those above it, where they are not there.
 *
 * @throws {FileAccessError} where the path is a link to nothing, or leads through one, of which the system says only that nothing is there:
 *   nothing is made at its end, which may be of a disk that is not mounted; what the system says of all else
 */
export async function makeFolder(
  path: string,
  fileSystem: FolderFileSystem = { mkdir, readlink, stat },
): Promise<void> {
  try {
    await fileSystem.mkdir(path, { recursive: true })
  } catch (error) {
    if (!isMissing(error)) throw error
    const first = await firstMissing(path, fileSystem)
    const target = await fileSystem.readlink(first).catch(() => undefined)
    if (target !== undefined) {
      const missing = `${first} is a link to ${target}, where nothing is; make that folder, or choose another.`
      const cause = await fileSystem.stat(first).catch((error: unknown) => error)
      throw new FileAccessError('write', first, cause, missing)
    }
    // Node's recursive call says that nothing is there for most of what the system may refuse (EROFS, EDQUOT, EIO, EMLINK): it asks after the
    // folder that it could not make, and throws that answer. The plain call throws the system's own.
    await fileSystem.mkdir(first).catch((refusal: NodeJS.ErrnoException) => {
      // Another process has made it meanwhile.
      if (refusal.code !== 'EEXIST') throw refusal
    })
    await fileSystem.mkdir(path, { recursive: true })
  }
}

/** The outermost folder on the way to a path that is not there, or the path itself. */
async function firstMissing(path: string, fileSystem: FolderFileSystem): Promise<string> {
  const above = dirname(path)
  if (above === path) return path
  const isThere = await fileSystem.stat(above).then(
    () => true,
    (error: unknown) => {
      if (isMissing(error)) return false
      throw error
    },
  )
  return isThere ? path : firstMissing(above, fileSystem)
}

/** ENOTDIR is what Node says of a link to nothing on the way, too. */
function isMissing(error: unknown): boolean {
  return ['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code!)
}
