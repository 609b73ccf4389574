import { isUtf8 } from 'node:buffer'
import { readdir, readFile, realpath, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { ifThere } from '../formats/if-there.ts'

/** Files under one root, a folder or an archive, named by their path inside it with `/` between the parts. */
export interface FileTree {
  /** The folder or archive, as the user named it. */
  readonly root: string
  /** Every file, in no order; those that cannot be read too. */
  readonly files: readonly string[]
  /** Every folder, the empty ones too, without a trailing slash; the root itself is not listed. */
  readonly folders: readonly string[]
  /** Files that `read` fails for, and why: `requireReadable` says it of those that are wanted. */
  readonly unreadable?: ReadonlyMap<string, Unreadable>
  /** The bytes of one file. */
  read(name: string): Promise<Uint8Array>
  close(): Promise<void>
}

/** `name`: it is not UTF-8, and no text can say it to the file system again. `link`: it points to nothing. */
export type Unreadable = 'name' | 'link'

/** What `read` says. */
const FAULTS: Readonly<Record<Unreadable, string>> = {
  name: 'has a name that is not UTF-8. Rename it.',
  link: 'is a link that points to nothing. Mend or remove it.',
}

/**
 * Lists a folder with everything below it. Symbolic links are followed; one that leads back to its own parent ends. A name that is
 * not UTF-8 is listed with `\xe9` for each byte beyond ASCII.
 *
 * @param without a folder that is left out where it lies below
 */
export async function openFolder(root: string, without?: string): Promise<FileTree> {
  const files: string[] = []
  const folders: string[] = []
  const unreadable = new Map<string, Unreadable>()
  const omitted = without === undefined ? undefined : await ifThere(realBytes(without))
  const walk = async (folder: Folder, ancestors: ReadonlySet<string>): Promise<void> => {
    if (ancestors.has(folder.real)) return
    const inside = new Set(ancestors).add(folder.real)
    for (const entry of await readdir(folder.path, { withFileTypes: true, encoding: 'buffer' })) {
      const hasText = folder.hasText && isUtf8(entry.name)
      const name = folder.prefix + textOf(entry.name)
      const pathOf = (): Buffer => Buffer.concat([folder.path, SLASH, entry.name])
      const target = entry.isSymbolicLink() ? await targetOf(pathOf()) : entry
      if (target === undefined || target.isFile()) {
        files.push(name)
        if (!hasText) unreadable.set(name, 'name')
        else if (target === undefined) unreadable.set(name, 'link')
      } else if (target.isDirectory()) {
        const path = pathOf()
        const real = await realBytes(path)
        if (real === omitted) continue
        folders.push(name)
        await walk({ path, real, prefix: `${name}/`, hasText }, inside)
      }
    }
  }
  await walk({ path: Buffer.from(root), real: await realBytes(root), prefix: '', hasText: true }, new Set())
  const read = async (name: string): Promise<Uint8Array> => {
    const fault = unreadable.get(name)
    if (fault !== undefined) throw new Error(`'${join(root, name)}' ${FAULTS[fault]}`)
    return readFile(join(root, name))
  }
  return { root, files, folders, unreadable, read, close: async () => {} }
}

interface Folder {
  readonly path: Buffer
  /** Where it is in truth, links followed. */
  readonly real: string
  /** What the names below it begin with, a slash at the end. */
  readonly prefix: string
  /** Whether the names above are UTF-8. */
  readonly hasText: boolean
}

const SLASH = Buffer.from('/')

/** Its true path, a character for a byte: what is to be compared and not read. */
async function realBytes(path: string | Buffer): Promise<string> {
  return (await realpath(path, 'buffer')).toString('latin1')
}

function textOf(name: Buffer): string {
  if (isUtf8(name)) return name.toString('utf8')
  return Array.from(name, (byte) => (byte < 0x80 ? String.fromCharCode(byte) : `\\x${byte.toString(16)}`)).join('')
}

/** What a link points to; undefined where that is nothing, or the link itself. */
async function targetOf(link: Buffer) {
  try {
    return await stat(link)
  } catch (error) {
    if (['ENOENT', 'ENOTDIR', 'ELOOP'].includes((error as NodeJS.ErrnoException).code!)) return undefined
    throw error
  }
}
