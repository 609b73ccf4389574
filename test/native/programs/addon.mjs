// The addon as src/native.ts loads it, without TypeScript.
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'

export const native = createRequire(import.meta.url)('node-gyp-build')(
  fileURLToPath(new URL('../../..', import.meta.url)),
)
