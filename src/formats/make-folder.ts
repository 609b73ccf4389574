import { mkdir, readlink } from 'node:fs/promises'
import { FileAccessError } from './errors.ts'

/**
 * Makes a folder that is to be written to, and those above it, where they are not there.
 *
 * @throws {FileAccessError} where the path is a link to nothing, of which the system says only that nothing is there: nothing is made at its
 *   end, which may be of a disk that is not mounted; what the system says of all else
 */
export async function makeFolder(path: string): Promise<void> {
  try {
    await mkdir(path, { recursive: true })
  } catch (error) {
    const target = (error as NodeJS.ErrnoException).code === 'ENOENT' && (await readlink(path).catch(() => undefined))
    if (!target) throw error
    const missing = `${path} is a link to ${target}, where nothing is; make that folder, or choose another.`
    throw new FileAccessError('write', path, error, missing)
  }
}
