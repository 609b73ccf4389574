import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { ROOT, sourceFiles } from './source-files.ts'

const EXPORTED = /^export (?:async )?(?:abstract )?(?:function\*?|const|let|class|enum) (\w+)/gm

const textsOf = (files: readonly string[]) =>
  files.map((file) => [file, readFileSync(join(ROOT, file), 'utf8')] as const)

/** How often each file has each word. */
function wordsOf(texts: readonly (readonly [file: string, text: string])[]): Map<string, Map<string, number>> {
  const words = new Map<string, Map<string, number>>()
  for (const [file, text] of texts) {
    for (const [word] of text.matchAll(/\w+/g)) {
      const counts = words.get(word) ?? new Map<string, number>()
      words.set(word, counts.set(file, (counts.get(file) ?? 0) + 1))
    }
  }
  return words
}

const texts = textsOf([
  ...['src', 'bench'].flatMap((folder) => sourceFiles(folder, ['.ts'])),
  ...sourceFiles('scripts', ['.mjs']),
])
const exported = texts.flatMap(([file, text]) =>
  file.startsWith('src/') ? [...text.matchAll(EXPORTED)].map(([, name]) => ({ file, name: name! })) : [],
)

// A type that only its own file names is part of what the file gives; a value that nobody takes is not.
test('no file of src exports a value that no other file names', () => {
  const words = wordsOf([...texts, ...textsOf(sourceFiles('test', ['.ts', '.mjs']))])
  expect(exported.length).toBeGreaterThan(500)
  expect(exported.filter(({ name }) => words.get(name)!.size === 1)).toEqual([])
})

/** By which a test sees that its table is whole. */
const FOR_TESTS = ['OWNED_SETTINGS']

test('nor one that is there for tests alone', () => {
  const words = wordsOf(texts)
  const idle = exported.filter(({ file, name }) => words.get(name)!.size === 1 && words.get(name)!.get(file) === 1)
  expect(idle.map(({ name }) => name)).toEqual(FOR_TESTS)
})
