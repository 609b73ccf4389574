#!/usr/bin/env node
// A part of `npm run build:ts`: zod in one file, dist/zod.js, and what imports zod imports that. zod's own module reads 95 files, 64 of
// them messages in other languages, which took a quarter of the time that importing this package took; the file has the functions that are
// called and no others, minified, for reading the rest took a sixth of what was left. Types stay those of the package.
//   bundle-zod.mjs DIST
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join, relative, resolve, sep } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import * as zod from 'zod'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const dist = resolve(process.argv[2])
const bundle = join(dist, 'zod.js')

/** English is imported by itself. */
const withoutLanguages = {
  name: 'without-languages',
  setup({ onLoad }) {
    onLoad({ filter: /[\\/]locales[\\/]index\.js$/ }, () => ({ contents: 'export {}' }))
  },
}

const importsZod = /^(import \* as z from )'zod';$/m
const importing = []
for (const file of readdirSync(dist, { recursive: true, encoding: 'utf8' })) {
  const path = join(dist, file)
  if (!file.endsWith('.js') || path === bundle) continue
  const text = readFileSync(path, 'utf8')
  if (importsZod.test(text)) importing.push({ path, text })
  // Two zods would not know each other's errors, and of a name that is not behind `z.` nobody would know that it is called.
  if (/['"]zod(\/[^'"]*)?['"]/.test(text.replace(importsZod, '')))
    throw new Error(`${path} imports zod in another form than "import * as z from 'zod'"; make it that.`)
}

const called = new Set(importing.flatMap(({ text }) => Array.from(text.matchAll(/\bz\.(\w+)/g), ([, name]) => name)))
const licence = readFileSync(join(root, 'node_modules/zod/LICENSE'), 'utf8').trim()
await build({
  stdin: {
    contents: `export { ${[...called].filter((name) => name in zod).join(', ')} } from 'zod'`,
    resolveDir: root,
  },
  outfile: bundle,
  bundle: true,
  minify: true,
  format: 'esm',
  platform: 'node',
  target: 'node20',
  banner: { js: `/*\nzod, under this licence:\n\n${licence}\n*/` },
  plugins: [withoutLanguages],
  logLevel: 'warning',
})

for (const { path, text } of importing) {
  const up = relative(dirname(path), dist).split(sep).join('/')
  writeFileSync(path, text.replace(importsZod, `$1'${up === '' ? '.' : up}/zod.js';`))
}
