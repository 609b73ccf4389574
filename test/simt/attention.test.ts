import { expect, test } from 'vitest'
import { runProgram } from '../native/run-program.ts'

const SETTINGS: readonly Record<string, string>[] = [
  {},
  { REPA_ATTENTION: 'wgmma-streamed' },
  { REPA_ATTENTION: 'mma-streamed' },
]

test.each(SETTINGS)(
  'attention and its gradients are the same bits in whatever order the threads run, with %j',
  (env) => {
    const digests = ['1', '2', '77'].map((seed) => {
      const { stdout, stderr } = runProgram('attention', { env: { ...env, REPA_SIMT_SEED: seed } })
      expect(stdout, stderr).toMatch(/^[0-9a-f]{64}\n$/)
      return stdout
    })
    expect(new Set(digests).size).toBe(1)
  },
)

test('kernels that there are not are refused', () => {
  const { stderr } = runProgram('attention', { env: { REPA_ATTENTION: 'flash' } })
  expect(stderr).toMatch(/REPA_ATTENTION is "flash"; expected mma, mma-streamed, wgmma, wgmma-streamed or auto\./)
})
