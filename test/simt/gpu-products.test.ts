import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'

const root = join(import.meta.dirname, '../..')

test('what compute-sanitizer watches on a GPU runs', ({ skip }) => {
  if (!existsSync(join(root, 'dist/index.js'))) skip('dist is not built: npm run build:ts')
  const { status, stdout, stderr } = spawnSync(process.execPath, [join(root, 'scripts/gpu-products.mjs'), 'cuda:0'], {
    encoding: 'utf8',
  })
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
  expect(stdout.trim().split('\n')).toHaveLength(17)
})
