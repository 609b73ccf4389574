import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { ROOT, sourceFiles } from './source-files.ts'

/** Of a call in whose arguments stand calls of calls at most. */
const RECURSIVE_CALL = /\bmkdir(?:Sync)?\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\brecursive\b/

// Node's recursive call says that nothing is there for most of what the system may refuse, and where nothing can be made never returns.
test('folders are made with those above them by makeFolder, not by Node', () => {
  const makers = sourceFiles('src', ['.ts']).filter((path) =>
    RECURSIVE_CALL.test(readFileSync(join(ROOT, path), 'utf8')),
  )
  expect(makers).toEqual([])
})
