import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { COMMANDS } from '../../src/cli/commands.ts'
import { parseCommandLine } from '../../src/cli/parse.ts'
import { DATA_KINDS, RUNNERS } from '../../src/verification/kinds/registry.ts'
import { readManifest } from '../../src/verification/manifest.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { linkedFiles, PAGES } from './pages.ts'
import { ROOT } from './source-files.ts'

const text = (page: string) => readFileSync(join(ROOT, page), 'utf8')

/** Lines of a page's shell blocks that call this package, continued lines as one, without comments. */
function commandLinesOf(page: string): string[] {
  const blocks = [...text(page).matchAll(/^```(?:sh|console)?\n([\s\S]*?)^```/gm)].map(([, block]) => block!)
  return blocks
    .flatMap((block) => block.replaceAll(/\\\n\s*/g, ' ').split('\n'))
    .map((line) => line.replace(/^\$ /, '').replace(/\s+#.*$/, ''))
    .filter((line) => line.startsWith('repa '))
}

/** The words of a line as a shell would hand them over. */
const wordsOf = (line: string) =>
  [...line.matchAll(/'([^']*)'|(\S+)/g)].map(([, quoted, bare]) => quoted ?? bare!).slice(1)

async function parse(line: string): Promise<unknown> {
  const words = wordsOf(line)
  for (const length of [2, 1]) {
    const entry = COMMANDS.find(({ name }) => name === words.slice(0, length).join(' '))
    if (entry) return parseCommandLine(await entry.load(), words.slice(length))
  }
  throw new Error(`there is no such command: ${line}`)
}

describe('the documentation', () => {
  test('is found', () => {
    expect(PAGES).toEqual(expect.arrayContaining(['README.md', 'docs/training.md', 'bench/acceleration/README.md']))
    expect(commandLinesOf('README.md').length).toBeGreaterThan(3)
  })

  test.each(PAGES)('%s leads nowhere that is not there', (page) => {
    expect(linkedFiles(page).filter((file) => !existsSync(join(ROOT, file)))).toEqual([])
  })

  test.each(PAGES)('%s leads to no heading that is not there', (page) => {
    const headings = (of: string) =>
      [...text(of).matchAll(/^#+ (.*)$/gm)].map(([, heading]) =>
        heading!
          .toLowerCase()
          .replaceAll(/[^\p{L}\p{N} _-]/gu, '')
          .replaceAll(' ', '-'),
      )
    const targets = [...text(page).matchAll(/\]\((?!https?:)([^)\s#]*)#([^)\s]+)\)/g)]
    const lost = targets.filter(([, to, anchor]) => !headings(to ? join(dirname(page), to) : page).includes(anchor!))
    expect(lost.map(([link]) => link)).toEqual([])
  })

  test('the map of the house has every folder of the sources', () => {
    const folders = ['native', 'src'].flatMap((top) =>
      readdirSync(join(ROOT, top), { withFileTypes: true }).flatMap((entry) =>
        entry.isDirectory() ? [`${top}/${entry.name}/`] : [],
      ),
    )
    expect(folders.length).toBeGreaterThan(20)
    expect(folders.filter((folder) => !text('CONTRIBUTING.md').includes(folder))).toEqual([])
  })

  test('README names functions of the library that it has', async () => {
    const table = text('README.md').split('The commands are functions too:\n\n')[1]!.split('\n\n')[0]!
    const names = [...table.matchAll(/`([a-zA-Z]+)`/g)].map(([, name]) => name!)
    expect(names.length).toBeGreaterThan(15)
    const library: Readonly<Record<string, unknown>> = await import('../../src/index.ts')
    expect(names.filter((name) => typeof library[name] !== 'function')).toEqual([])
  })

  test('docs/golden.md shows a manifest, and names every kind of file', async () => {
    const folder = temporaryFolder()
    const [, manifest] = /^```json\n([\s\S]*?)^```/m.exec(text('docs/golden.md'))!
    await writeFile(join(folder, 'manifest.json'), manifest!)
    const { cases } = await readManifest(folder)
    for (const { kind } of cases.flatMap(({ files }) => Object.values(files)))
      expect(RUNNERS.has(kind) || DATA_KINDS.has(kind), kind).toBe(true)
    const named = [...text('docs/golden.md').matchAll(/`([a-z0-9-]+\.)\*`/g)].map(([, prefix]) => prefix!)
    expect([...RUNNERS.keys()].filter((kind) => !named.some((prefix) => kind.startsWith(prefix)))).toEqual([])
  })

  test.each(PAGES.flatMap((page) => commandLinesOf(page).map((line) => ({ page, line }))))(
    '$page: $line is a command',
    async ({ line }) => {
      await expect(parse(line)).resolves.toBeDefined()
    },
  )

  test.each(COMMANDS.map(({ name, load }) => ({ name, load })))(
    'the examples of repa $name are commands',
    async (entry) => {
      const { examples } = await entry.load()
      for (const { command } of examples) await expect(parse(command), command).resolves.toBeDefined()
    },
  )
})
