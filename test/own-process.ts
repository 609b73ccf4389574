import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

/**
 * What a process has once, and a test that changes or counts it must have alone: environment, signals, globals, mocks, and the memory of
 * tensors and of V8's heap. By what the file says, so that a new test is placed by itself.
 */
const OWN =
  /process\.(env|chdir|on|once|exit|exitCode|umask|emit)\b|globalThis|\bvi\.|memoryStats|PeakMemory|memoryUsage|reachableBytes|collectGarbage|dry-run|gpus-of-processes/

/** Test files by whether each needs a process of its own. */
export function byProcess(): { readonly own: string[]; readonly shared: string[] } {
  const [own, shared]: [string[], string[]] = [[], []]
  for (const file of readdirSync(import.meta.dirname, { recursive: true, encoding: 'utf8' })) {
    if (!file.endsWith('.test.ts')) continue
    const of = OWN.test(readFileSync(join(import.meta.dirname, file), 'utf8')) ? own : shared
    of.push(`test/${file}`)
  }
  return { own, shared }
}
