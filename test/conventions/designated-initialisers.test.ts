import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { ROOT, sourceFiles } from './source-files.ts'

/** `place = {.member = ...}`, which names no type; a declaration has two words before its `=`. */
const ASSIGNED = /(?:^|[;{})])\s*(?!return\b)\w[\w.[\]>()-]*\s=\s*\{\s*\.\w+\s*=/gm

function assignments(source: string): string[] {
  const code = source.replaceAll(/\/\/.*/g, '')
  return [...code.matchAll(ASSIGNED)].map(([text]) => text.trim())
}

// nvcc's front end rewrites the host's code before the compiler sees it, and in a template or a generic lambda it writes an assignment
// from a designated list without the designators: `to.sum = {.out = p, .accumulate = true}` becomes `to.sum = {p, true}`, whose second
// value goes to the second member. No other compiler does, so nothing but a GPU would show it.
test('no designated initialiser that nvcc compiles is assigned without its type', () => {
  const files = sourceFiles('native/cuda', ['.cu', '.cuh', '.h'])
  expect(files.length).toBeGreaterThan(100)
  const found = files.flatMap((file) =>
    assignments(readFileSync(join(ROOT, file), 'utf8')).map((text) => `${file}: ${text}`),
  )
  expect(found).toEqual([])
})

test.each([
  ['  of.dGate = {.out = out, .accumulate = true};', 1],
  ['  if (dBias) of.dBias = {.out = out};', 1],
  ['  launched.maps[i] = {.a = a};', 1],
  ['  {\n    sum =\n        {.out = out};\n  }', 1],
  ['  of.dGate = RowSum{.out = out, .accumulate = true};', 0],
  ['  const LaunchShape shape = {.grid = grid};', 0],
  ['  run({.sum = {.out = out}});', 0],
])('%j', (source, count) => {
  expect(assignments(source)).toHaveLength(count)
})
