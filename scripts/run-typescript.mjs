// node --import ./scripts/run-typescript.mjs FILE.ts: runs TypeScript from its source, which Node 20 cannot by itself.
import { readFile } from 'node:fs/promises'
import { register } from 'node:module'
import { fileURLToPath } from 'node:url'
import { isMainThread } from 'node:worker_threads'
import { javascriptOf } from './javascript-of.mjs'

// The hooks run on a thread of Node's own, which loads this file as well.
if (isMainThread) register(import.meta.url)

/** Node's hook (module.register): what a module's source is. */
export async function load(url, context, nextLoad) {
  if (!url.endsWith('.ts')) return nextLoad(url, context)
  const fileName = fileURLToPath(url)
  const source = await javascriptOf(fileName, await readFile(fileName, 'utf8'), { inlineSourceMap: true })
  return { format: 'module', source, shortCircuit: true }
}
