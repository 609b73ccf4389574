// npm's install step: takes a prebuilt or already built addon, else builds one here.
import { spawnSync } from 'node:child_process'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const here = dirname(fileURLToPath(import.meta.url))
if (process.env.npm_config_build_from_source !== 'true') {
  try {
    createRequire(import.meta.url)('node-gyp-build')(join(here, '..'))
    process.exit(0)
  } catch {
    // None that loads here: build it.
  }
}
const result = spawnSync(process.execPath, [join(here, 'build-native.mjs')], { stdio: 'inherit' })
process.exit(result.status ?? 1)
