import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { PAGES } from './pages.ts'
import { ROOT, sourceFiles } from './source-files.ts'

// `...{ a, b }` says nothing that `a, b` does not, but keeps the formatter from giving each a line.
test('no object literal is spread into another', () => {
  const files = [...['src', 'test', 'bench'].flatMap((folder) => sourceFiles(folder, ['.ts'])), ...PAGES]
  expect(files.length).toBeGreaterThan(800)
  const found = files.filter((file) => /^\s*\.\.\.\{ ?\w/m.test(readFileSync(join(ROOT, file), 'utf8')))
  expect(found).toEqual([])
})
