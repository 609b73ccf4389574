/**
 * In a process that has imported this before the addon, the GPU of native/simt computes nothing and has the memory of an H200: a step allocates
 * and launches what it does on a chip, at the sizes that people train. A real GPU knows nothing of it.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll } from 'vitest'

const folder = mkdtempSync(join(tmpdir(), 'repa-dry-run-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

process.env.REPA_SIMT_DRY_RUN = '1'
process.env.REPA_SIMT_MEMORY = `${150e9}`
process.env.REPA_SIMT_KERNELS = join(folder, 'kernels')
