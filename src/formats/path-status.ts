import type { Stats } from 'node:fs'
import { stat } from 'node:fs/promises'
import { requirePath } from '../configuration/path-argument.ts'
import { FileAccessError } from './errors.ts'

/**
 * What lies at a path that is to be read.
 *
 * @param missing what is said where nothing does
 * @throws {ConfigurationError} where the path is no text; {FileAccessError} where nothing does, or the system does not tell
 */
export async function statusOf(
  path: string,
  missing = `${path}: there is no such file or folder; check the path.`,
): Promise<Stats> {
  requirePath(path, 'the path of what is to be read')
  try {
    return await stat(path)
  } catch (error) {
    throw new FileAccessError('read', path, error, missing)
  }
}
