/** What is asked of the members of every archive of images. */
import { FileFormatError } from '../formats/errors.ts'
import { safeEntryName } from '../formats/zip-entry-name.ts'

/** No image is this large; a member that says so is an accident or an attack. */
export const MAX_MEMBER_BYTES = 2 ** 30

/** @throws {FileFormatError} where a member's name is not safe as a path */
export function requireSafeName(path: string, name: string): void {
  try {
    safeEntryName(name)
  } catch (error) {
    throw new FileFormatError(path, `${(error as Error).message} Pack the archive again with relative names.`, {
      cause: error,
    })
  }
}
