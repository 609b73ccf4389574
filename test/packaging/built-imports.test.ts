import { existsSync, readFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import ts from 'typescript'
import { expect, test } from 'vitest'
import { ROOT, sourceFiles } from '../conventions/source-files.ts'

// TypeScript 6 leaves `import('./x.ts')` as it is in a function that also has a `using` declaration.
test('every module that a built file imports is there', ({ skip }) => {
  if (!existsSync(join(ROOT, 'dist/index.js'))) skip('dist is not built: npm run build:ts')
  const files = sourceFiles('dist', ['.js'])
  const imports = files.flatMap((file) =>
    ts
      .preProcessFile(readFileSync(join(ROOT, file), 'utf8'), true, true)
      .importedFiles.filter(({ fileName }) => fileName.startsWith('.'))
      .map(({ fileName }) => ({ file, target: normalize(join(dirname(file), fileName)) })),
  )
  expect(imports.length).toBeGreaterThan(300)
  expect(imports.filter(({ target }) => !files.includes(target))).toEqual([])
})
