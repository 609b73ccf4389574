/** Which kernels a program runs, as the shim writes them down. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect } from 'vitest'
import { runProgram } from '../native/run-program.ts'

/** The kernels that the addon has and those that a program has run, each after the file it is in. */
export function kernelsOf(name: string, args: string[], capability: string, env: Record<string, string> = {}) {
  const scratch = mkdtempSync(join(tmpdir(), 'repa-kernels-'))
  const REPA_SIMT_KERNELS = join(scratch, 'kernels')
  try {
    const all = { ...env, REPA_SIMT_ARCH: capability, REPA_SIMT_KERNELS }
    const { status, stderr } = runProgram(name, { args, env: all })
    expect(status, stderr).toBe(0)
    const lines = readFileSync(REPA_SIMT_KERNELS, 'utf8').trim().split('\n')
    const after = (word: string) => lines.filter((line) => line.startsWith(word)).map((line) => line.slice(word.length))
    return { has: new Set(after('has ')), ran: new Set(after('ran ')) }
  } finally {
    rmSync(scratch, { recursive: true })
  }
}

/** Those of attention and its gradient that have run, in the order of the alphabet. */
export function attentionKernels(args: string[], capability: string, env?: Record<string, string>) {
  const { ran } = kernelsOf('attention-of-size', args, capability, env)
  return [...ran].flatMap((kernel) => /: (attention\w+)/.exec(kernel)?.[1] ?? []).sort()
}
