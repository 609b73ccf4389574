import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { native } from '../../src/native.ts'
import { isShim } from '../tensor/devices.ts'

/** Made by `npm run pack:offline` on the machine that builds: the probes for a GPU, and what the shim says of each. */
const folder = join(import.meta.dirname, '../../build/conformance')
const probes = join(folder, 'conformance')
const expected = join(folder, 'shim-dump')
const { devices } = native().cudaInfo()
const missing =
  isShim || devices.length === 0 ? 'no GPU here' : existsSync(expected) ? '' : 'build/conformance is not here'

describe(`the chip and the shim agree on every instruction${missing && ` (skipped: ${missing})`}`, () => {
  test.skipIf(missing)('bit for bit where the manual is exact', () => {
    const scratch = mkdtempSync(join(tmpdir(), 'repa-conformance-'))
    try {
      const dump = join(scratch, 'chip-dump')
      const dumped = spawnSync(probes, [dump], { encoding: 'utf8' })
      expect(dumped.status, dumped.stderr).toBe(0)
      const compared = spawnSync(probes, ['--compare', dump, expected], { encoding: 'utf8' })
      expect(compared.status, compared.stdout + compared.stderr).toBe(0)
    } finally {
      rmSync(scratch, { recursive: true, force: true })
    }
  })
})
