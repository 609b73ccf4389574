import { spawnSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'

const compiler = process.env.CXX || 'c++'
const isHere = spawnSync(compiler, ['--version']).status === 0

// Most machines that build the addon have no CUDA, and those that test it do: what such a build sees of the kernels are their headers.
test.skipIf(!isHere)(
  "the headers of kernels that ops and the addon read are C++ without CUDA's own",
  () => {
    const native = join(import.meta.dirname, '../../native')
    const sources = ['ops', 'addon'].flatMap((folder) =>
      readdirSync(join(native, folder)).map((name) => readFileSync(join(native, folder, name), 'utf8')),
    )
    const headers = new Set(sources.flatMap((text) => text.match(/^#include "cuda\/.*"$/gm) ?? []))
    expect(headers.size).toBeGreaterThan(30)
    const program = [...headers, ''].join('\n')
    const { stderr, status } = spawnSync(compiler, ['-std=c++20', '-fsyntax-only', '-I', native, '-x', 'c++', '-'], {
      input: program,
      encoding: 'utf8',
    })
    expect({ stderr, status }).toEqual({ stderr: '', status: 0 })
  },
  120_000,
)
