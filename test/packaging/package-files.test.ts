import { execFileSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { linkedFiles } from '../conventions/pages.ts'
import { ROOT, sourceFiles } from '../conventions/source-files.ts'

interface Packed {
  readonly files: readonly { readonly path: string }[]
}

/** What `npm pack` would put into the tarball. */
function packed(): string[] {
  const output = execFileSync('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'], {
    cwd: ROOT,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  })
  return (JSON.parse(output) as Packed[])[0]!.files.map(({ path }) => path)
}

/** Every page that README leads to, itself among them, and the pictures on them. */
function reachedFromReadme(): string[] {
  const reached = new Set(['README.md'])
  for (const file of reached) if (file.endsWith('.md')) for (const linked of linkedFiles(file)) reached.add(linked)
  return [...reached]
}

test('the package holds what running, building and reading about it needs, and nothing else', ({ skip }) => {
  if (!existsSync(join(ROOT, 'dist/index.js'))) skip('dist is not built: npm run build:ts')
  const files = packed()
  const needed = [
    'package.json',
    ...reachedFromReadme(),
    'LICENSE',
    'CMakeLists.txt',
    'binding.gyp',
    ...sourceFiles('native', ['.cpp', '.h', '.cu', '.cuh']),
    ...sourceFiles('scripts', ['.mjs']),
    // The baseline that `repa bench --against python` runs.
    ...sourceFiles('bench/python', ['.py']),
    // What `repa plan` reads.
    ...sourceFiles('bench/results', ['.json']),
    ...sourceFiles('recipes', ['.jsonc']),
    ...sourceFiles('src', ['.ts']).map((file) => file.replace(/^src/, 'dist').replace(/ts$/, 'js')),
    'dist/index.d.ts',
  ]
  expect(needed.filter((file) => !files.includes(file))).toEqual([])
  const allowed =
    /^(dist\/.*\.(js|d\.ts)|native\/.*|scripts\/.*\.mjs|bench\/(python\/.*\.py|results\/.*\.json|acceleration\/.*\.(md|png|svg))|docs\/.*\.(md|png)|recipes\/.*\.jsonc|prebuilds\/.*\.node|[^/]+)$/
  expect(files.filter((file) => !allowed.test(file) || file.includes('__pycache__'))).toEqual([])
})
