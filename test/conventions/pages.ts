import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { ROOT, sourceFiles } from './source-files.ts'

/** Every page that is written for readers. */
export const PAGES = [
  ...readdirSync(ROOT).filter((name) => name.endsWith('.md')),
  ...['docs', 'bench', 'recipes', 'native'].flatMap((folder) => sourceFiles(folder, ['.md'])),
]

/** A page's programs, by the file that each would be: `README.md.0.ts`. */
export function programsOf(page: string): [path: string, text: string][] {
  const blocks = [...readFileSync(join(ROOT, page), 'utf8').matchAll(/^```ts\n([\s\S]*?)^```/gm)]
  return blocks.map(([, text], i) => [join(ROOT, `${page}.${i}.ts`), text!])
}

/** The files and folders of this repository, as paths from its root, to which a page's links and images lead. */
export function linkedFiles(page: string): string[] {
  const text = readFileSync(join(ROOT, page), 'utf8')
  return [...text.matchAll(/\]\(([^)\s]+)\)/g)]
    .map(([, target]) => target!)
    .filter((target) => !/^(https?:|#)/.test(target))
    .map((target) => join(dirname(page), target.split('#')[0]!))
}
