import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { ROOT, sourceFiles } from './source-files.ts'

const LIMIT = 500

/** Files that may be longer, each with the reason why it is still one thing. */
const LONGER: Readonly<Record<string, string>> = {}

const files = [
  ...['src', 'native', 'test', 'scripts', 'bench'].flatMap((folder) =>
    sourceFiles(folder, ['.ts', '.mjs', '.cpp', '.h', '.cu', '.cuh', '.py']),
  ),
]

const lines = (file: string) => readFileSync(join(ROOT, file), 'utf8').split('\n').length - 1

test(`a file of more than ${LIMIT} lines has a stated reason`, () => {
  expect(files.length).toBeGreaterThan(100)
  const long = files.map((file) => ({ file, lines: lines(file) })).filter((entry) => entry.lines > LIMIT)
  expect(long.filter(({ file }) => !(file in LONGER))).toEqual([])
  // And no reason outlives its file's length.
  expect(Object.keys(LONGER).filter((file) => !long.some((entry) => entry.file === file))).toEqual([])
})
