// A TypeScript module as JavaScript: its types are taken off, nothing is checked. What was made of a text once is kept in build/javascript,
// for the tests start many processes that run the same sources.
import { createHash } from 'node:crypto'
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const folder = join(dirname(fileURLToPath(import.meta.url)), '../build/javascript')
const { version } = createRequire(import.meta.url)('typescript/package.json')

/** `options` are the compiler's beyond those that all have in common. */
export async function javascriptOf(fileName, text, options) {
  const key = JSON.stringify([version, options, options.inlineSourceMap ? fileName : null, text])
  const kept = join(folder, createHash('sha256').update(key).digest('hex'))
  try {
    return await readFile(kept, 'utf8')
  } catch (error) {
    if (error.code !== 'ENOENT') throw error
  }
  // Only here: loading the compiler takes longer than most programs do.
  const { default: ts } = await import('typescript')
  const { outputText } = ts.transpileModule(text, {
    fileName,
    compilerOptions: {
      target: ts.ScriptTarget.ES2023,
      module: ts.ModuleKind.ESNext,
      verbatimModuleSyntax: true,
      ...options,
    },
  })
  await mkdir(folder, { recursive: true })
  // Whole or not at all: others read here at the same time.
  const part = `${kept}.${process.pid}`
  await writeFile(part, outputText)
  await rename(part, kept)
  return outputText
}
