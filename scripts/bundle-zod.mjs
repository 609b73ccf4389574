#!/usr/bin/env node
// The last part of `npm run build:ts`: zod in one file, dist/zod.js, and what imports zod imports that. zod's own module reads 95 files, 64 of
// them messages in other languages, which took a quarter of the time that importing this package took. Types stay those of the package.
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join, relative, sep } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const dist = join(root, 'dist')
const bundle = join(dist, 'zod.js')

/** English is imported by itself. */
const withoutLanguages = {
  name: 'without-languages',
  setup({ onLoad }) {
    onLoad({ filter: /[\\/]locales[\\/]index\.js$/ }, () => ({ contents: 'export {}' }))
  },
}

const licence = readFileSync(join(root, 'node_modules/zod/LICENSE'), 'utf8').trim()
await build({
  stdin: { contents: "export * from 'zod'", resolveDir: root },
  outfile: bundle,
  bundle: true,
  format: 'esm',
  platform: 'node',
  target: 'node20',
  banner: { js: `/*\nzod, under this licence:\n\n${licence}\n*/` },
  plugins: [withoutLanguages],
  logLevel: 'warning',
})

for (const file of readdirSync(dist, { recursive: true, encoding: 'utf8' })) {
  const path = join(dist, file)
  if (!file.endsWith('.js') || path === bundle) continue
  const text = readFileSync(path, 'utf8')
  const up = relative(dirname(path), dist).split(sep).join('/')
  const rewritten = text.replace(/^(import .* from )'zod';$/gm, `$1'${up === '' ? '.' : up}/zod.js';`)
  if (rewritten !== text) writeFileSync(path, rewritten)
  // Two zods would not know each other's errors.
  if (/['"]zod(\/[^'"]*)?['"]/.test(rewritten))
    throw new Error(`${path} imports zod in another form than this script knows; make it one of its own line.`)
}
