import { afterEach, expect, test, vi } from 'vitest'
import { temporaryFolder } from '../temporary-folder.ts'

afterEach(() => {
  vi.unstubAllEnvs()
  vi.resetModules()
})

test('an addon that is not there: why, and what to do, each a sentence', async () => {
  // Where node-gyp-build looks instead of in the package.
  vi.stubEnv('REPA_NATIVE_PREBUILD', temporaryFolder())
  vi.resetModules()
  const { native } = await import('../../src/native.ts')
  expect(native).toThrow(
    /^repa-native could not load its addon for \S+: No native build was found for .*[^.]\. If the package manager .+`\.$/,
  )
})
