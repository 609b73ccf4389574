import { spawnSync } from 'node:child_process'
import { symlinkSync } from 'node:fs'
import { join } from 'node:path'
// It comes with vite.
import { build } from 'esbuild'
import { expect, test } from 'vitest'
import { ROOT } from '../conventions/source-files.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { writeTree } from '../write-tree.ts'

const PROGRAM = `
import { SiT } from './src/index.ts'
const model = { kind: 'SiT', depth: 1, hidden: 32, heads: 2, patch: 4 }
try { SiT.create(model, { classes: 2, channels: 3, inputSize: [8, 8] }) } catch (error) { console.log(error.message) }`

test.each([
  ['esm', 'main.mjs'],
  ['cjs', 'main.cjs'],
] as const)('a bundle that contains the package says what to do instead: %s', async (format, name) => {
  const folder = temporaryFolder()
  writeTree(folder, { 'package.json': '{ "name": "app" }' })
  symlinkSync(join(ROOT, 'node_modules'), join(folder, 'node_modules'))
  const outfile = join(folder, 'dist', name)
  await build({
    stdin: { contents: PROGRAM, resolveDir: ROOT, loader: 'ts' },
    bundle: true,
    platform: 'node',
    target: 'node20',
    format,
    external: ['sharp'],
    outfile,
    logLevel: 'error',
    logOverride: { 'empty-import-meta': 'silent' },
  })
  const { stdout, stderr } = spawnSync(process.execPath, [outfile], { encoding: 'utf8' })
  expect(stderr).toBe('')
  expect(stdout).toMatch(
    /^repa-native could not load its addon: this is a bundle, .+ Leave repa-native external \(esbuild: --external:repa-native\).*\.\n$/,
  )
})
