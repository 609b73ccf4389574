import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { type MemoryStats, native } from '../../src/native.ts'
import { allowTf32 } from '../../src/tensor/device.ts'
import { type VerifyOptions, verify } from '../../src/verification/verify.ts'
import { temporaryFolder } from '../temporary-folder.ts'

/** No machine has it; nothing computes there. */
const DEVICE = 'cuda:99'

/** A golden directory of a file that every precision selects and nothing verifies, so that none of it is read. */
function goldenOfNothing(): string {
  const directory = temporaryFolder()
  const tolerance = { atol: 0, rtol: 0 }
  const out = { dtype: 'F32', shape: [1], role: 'output', tol: tolerance, tol_bf16: tolerance }
  const cases = [{ id: 'x', files: { x: { kind: 'new.kind', bytes: 0, tensors: { out } } } }]
  writeFileSync(join(directory, 'manifest.json'), JSON.stringify({ format: 'golden-1', cases }))
  return directory
}

describe.each([false, true])('products of f32 that may be rounded to tf32: %s', (before) => {
  let allowed: boolean
  beforeEach(() => {
    vi.spyOn(native(), 'memoryStats').mockReturnValue({ liveBytes: 0 } as MemoryStats)
    vi.spyOn(native(), 'allowTf32').mockImplementation((_, on) => {
      allowed = on
    })
    allowTf32(DEVICE, before)
  })
  afterEach(() => {
    allowTf32(DEVICE, false)
    vi.restoreAllMocks()
  })

  const broken = new Error('whoever is told of the files fails')
  const WAYS: readonly { readonly way: string; readonly options: VerifyOptions; readonly reason?: string }[] = [
    { way: 'to the end', options: {} },
    { way: 'until it is aborted', options: { signal: AbortSignal.abort() }, reason: 'This operation was aborted' },
    {
      way: 'until something throws',
      options: {
        onFile: () => {
          throw broken
        },
      },
      reason: broken.message,
    },
  ]
  test.each(WAYS)('may be as before after a verification $way', async ({ options, reason }) => {
    for (const precision of ['tf32', 'fp32'] as const) {
      let meanwhile: boolean | undefined
      const onFile: VerifyOptions['onFile'] = (file) => {
        meanwhile = allowed
        options.onFile?.(file)
      }
      const run = verify(goldenOfNothing(), { ...options, device: DEVICE, precision, onFile })
      if (reason === undefined) expect(await run).toMatchObject({ unknownKinds: { 'new.kind': 1 } })
      else await expect(run).rejects.toThrow(reason)
      expect(meanwhile).toBe(options.signal ? undefined : precision === 'tf32')
      expect(allowed).toBe(before)
    }
  })
})
