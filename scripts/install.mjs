// npm's install step: takes a prebuilt or already built addon, else builds one here. In a clone, whose sources may have changed since, it
// builds what has, unless this machine has no tools for that.
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { missingTools } from './missing-tools.mjs'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
// The package that npm installs has none.
const isClone = existsSync(join(root, 'src'))
if (process.env.npm_config_build_from_source !== 'true' && !(isClone && missingTools() === undefined)) {
  try {
    createRequire(import.meta.url)('node-gyp-build')(root)
    process.exit(0)
  } catch {
    // None that loads here: build it.
  }
}
const result = spawnSync(process.execPath, [join(root, 'scripts/build-native.mjs')], { stdio: 'inherit' })
process.exit(result.status ?? 1)
