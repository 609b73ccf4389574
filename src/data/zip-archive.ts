import { FileFormatError } from '../formats/errors.ts'
import { ZipFile } from '../formats/zip-reader.ts'
import { MAX_MEMBER_BYTES, requireSafeName } from './archive-member.ts'
import type { FileTree } from './file-tree.ts'

/**
 * Opens a zip archive for reading in any order. A damaged entry fails when it is read, with a FileFormatError; the others
 * stay readable.
 *
 * @throws {FileFormatError} if the file is no zip archive that `ZipFile` opens, or a name in it is not safe as a path
 */
export async function openZip(path: string): Promise<FileTree> {
  const zip = await ZipFile.open(path)
  try {
    /** The entries by what they are called here: bsdtar's archives of a folder have `./` before each name. */
    const entries = new Map<string, string>()
    const folders = new Set<string>()
    for (const entry of zip.entries.keys()) {
      requireSafeName(path, entry)
      const name = entry.replace(/^(?:\.\/)+/, '')
      for (let slash = name.indexOf('/'); slash >= 0; slash = name.indexOf('/', slash + 1)) {
        folders.add(name.slice(0, slash))
      }
      if (name === '' || name.endsWith('/')) continue
      if (entries.has(name))
        throw new FileFormatError(path, `the zip archive has two entries named ${JSON.stringify(name)}.`)
      entries.set(name, entry)
    }
    return {
      root: path,
      files: [...entries.keys()],
      folders: [...folders],
      read: (name) => zip.read(entries.get(name) ?? name, { maxBytes: MAX_MEMBER_BYTES }),
      close: () => zip.close(),
    }
  } catch (error) {
    await zip.close()
    throw error
  }
}
