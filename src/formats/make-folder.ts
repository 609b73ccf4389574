import { mkdir, readlink, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { FileAccessError } from './errors.ts'

/** What making a folder needs of a file system; a test can stand in for Node's. */
export interface FolderFileSystem {
  mkdir(path: string): Promise<unknown>
  readlink(path: string): Promise<string>
  stat(path: string): Promise<{ isDirectory(): boolean }>
}

/**
 * Makes a folder that is to be written to, and those above it, where they are not there.
 *
 * Not by Node's recursive call: that says that nothing is there for most of what the system may refuse (EROFS, EDQUOT, EIO, EMLINK), and
 * never returns where the system says so of a folder whose parent is there, as /proc and what an automounter serves do.
 *
 * @throws {FileAccessError} where the path is a link to nothing, or leads through one, of which the system says only that something is there:
 *   nothing is made at its end, which may be of a disk that is not mounted; what the system says of all else
 */
export async function makeFolder(
  path: string,
  fileSystem: FolderFileSystem = { mkdir, readlink, stat },
): Promise<void> {
  try {
    await fileSystem.mkdir(path)
  } catch (refusal) {
    const above = dirname(path)
    if ((refusal as NodeJS.ErrnoException).code === 'ENOENT' && above !== path) {
      await makeFolder(above, fileSystem)
      await fileSystem.mkdir(path).catch((again: unknown) => requireFolder(path, again, fileSystem))
    } else await requireFolder(path, refusal, fileSystem)
  }
}

/** Throws what the system said when it was to make a folder, or what it left out, unless that folder is there. */
async function requireFolder(path: string, refusal: unknown, fileSystem: FolderFileSystem): Promise<void> {
  let missing: unknown
  try {
    if ((await fileSystem.stat(path)).isDirectory()) return
  } catch (error) {
    missing = error
  }
  const target = missing === undefined ? undefined : await fileSystem.readlink(path).catch(() => undefined)
  if (target === undefined) throw refusal
  const sentence = `${path} is a link to ${target}, where nothing is; make that folder, or choose another.`
  throw new FileAccessError('write', path, missing, sentence)
}
