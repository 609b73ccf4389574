import { readdir, readFile, realpath, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { ifThere } from '../formats/if-there.ts'

/** Files under one root, a folder or an archive, named by their path inside it with `/` between the parts. */
export interface FileTree {
  /** The folder or archive, as the user named it. */
  readonly root: string
  /** Every file, in no order. */
  readonly files: readonly string[]
  /** Every folder, the empty ones too, without a trailing slash; the root itself is not listed. */
  readonly folders: readonly string[]
  /** The bytes of one file. */
  read(name: string): Promise<Uint8Array>
  close(): Promise<void>
}

/**
 * Lists a folder with everything below it. Symbolic links are followed; one that leads back to its own parent ends.
 *
 * @param without a folder that is left out where it lies below
 */
export async function openFolder(root: string, without?: string): Promise<FileTree> {
  const files: string[] = []
  const folders: string[] = []
  const omitted = without === undefined ? undefined : await ifThere(realpath(without))
  const walk = async (prefix: string, real: string, ancestors: ReadonlySet<string>): Promise<void> => {
    if (ancestors.has(real)) return
    const inside = new Set(ancestors).add(real)
    for (const entry of await readdir(join(root, prefix), { withFileTypes: true })) {
      const name = prefix === '' ? entry.name : `${prefix}/${entry.name}`
      const target = entry.isSymbolicLink() ? await stat(join(root, name)) : entry
      if (target.isFile()) files.push(name)
      else if (target.isDirectory()) {
        const below = await realpath(join(root, name))
        if (below === omitted) continue
        folders.push(name)
        await walk(name, below, inside)
      }
    }
  }
  await walk('', await realpath(root), new Set())
  return { root, files, folders, read: (name) => readFile(join(root, name)), close: async () => {} }
}
