import { extname } from 'node:path'
import type { FileTree, Unreadable } from './file-tree.ts'
import { isHidden } from './image-labels.ts'
import { listNames } from './name-list.ts'

const FAULTS: Readonly<Record<Unreadable, readonly [what: string, advice: string]>> = {
  name: ['names that are not UTF-8', 'Rename them, for example by convmv -r -f latin1 -t utf8 --notest.'],
  link: ['links that point to nothing', 'Mend or remove them.'],
}

/**
 * Before anything is made of the files: which of them are wanted and cannot be read. A link without an ending may have been one to
 * a folder, of a class maybe, without which the others would get other labels.
 *
 * @throws {Error} that lists them
 */
export function requireReadable({ root, unreadable = new Map() }: FileTree, isWanted: (name: string) => boolean): void {
  for (const [fault, [what, advice]] of Object.entries(FAULTS)) {
    const names = [...unreadable]
      .filter(([, why]) => why === fault)
      .map(([name]) => name)
      .filter((name) => isWanted(name) || (fault === 'link' && extname(name) === '' && !isHidden(name)))
    if (names.length > 0) throw new Error(`'${root}' holds ${names.length} ${what}: ${listNames(names)}. ${advice}`)
  }
}
