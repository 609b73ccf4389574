import { spawnSync } from 'node:child_process'
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { ROOT } from '../conventions/source-files.ts'

const CMAKE = 'CMake 3.22 or later'
const COMPILER = 'a C++20 compiler'
const MAKE = 'make or ninja'

const cases = [
  { has: [], missing: [CMAKE, COMPILER, MAKE] },
  { has: ['cmake', 'ninja'], missing: [COMPILER] },
  { has: ['g++', 'make'], missing: [CMAKE] },
  { has: ['cmake', 'clang++'], missing: [MAKE] },
]

describe.each(['build-native.mjs', 'install.mjs'])('%s on a machine without the tools', (script) => {
  test.each(cases)('that has only $has says in one sentence what is missing', ({ has, missing }) => {
    const bin = mkdtempSync(join(tmpdir(), 'repa-path-'))
    try {
      for (const tool of has) {
        writeFileSync(join(bin, tool), '#!/bin/sh\nexit 0\n')
        chmodSync(join(bin, tool), 0o755)
      }
      const { status, stdout, stderr } = spawnSync(process.execPath, [join(ROOT, 'scripts', script)], {
        env: { PATH: bin, npm_config_build_from_source: 'true' },
        encoding: 'utf8',
      })
      expect({ status, stdout }).toEqual({ status: 1, stdout: '' })
      expect(stderr.trimEnd().split('\n')).toHaveLength(1)
      for (const part of [CMAKE, COMPILER, MAKE]) expect(stderr.includes(part)).toBe(missing.includes(part))
      expect(stderr).toMatch(/^repa-native: .* apt install g\+\+ cmake make\) .*\.\n$/)
    } finally {
      rmSync(bin, { recursive: true })
    }
  })
})
