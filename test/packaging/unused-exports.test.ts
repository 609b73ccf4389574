import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { ROOT, sourceFiles } from './source-files.ts'

const EXPORTED = /^export (?:async )?(?:abstract )?(?:function\*?|const|let|class|enum) (\w+)/gm

// A type that only its own file names is part of what the file gives; a value that nobody takes is not.
test('no file of src exports a value that no other file names', () => {
  const files = [
    ...['src', 'test', 'bench'].flatMap((folder) => sourceFiles(folder, ['.ts'])),
    ...['scripts', 'test'].flatMap((folder) => sourceFiles(folder, ['.mjs'])),
  ]
  const users = new Map<string, Set<string>>()
  const texts = files.map((file) => [file, readFileSync(join(ROOT, file), 'utf8')] as const)
  for (const [file, text] of texts) {
    for (const [word] of text.matchAll(/\w+/g)) {
      const of = users.get(word) ?? new Set()
      users.set(word, of.add(file))
    }
  }
  const exported = texts.flatMap(([file, text]) =>
    file.startsWith('src/') ? [...text.matchAll(EXPORTED)].map(([, name]) => ({ file, name: name! })) : [],
  )
  expect(exported.length).toBeGreaterThan(500)
  expect(exported.filter(({ name }) => users.get(name)!.size === 1)).toEqual([])
})
