// Makes prebuilds/<platform>/repa-native.<libc>.node for the npm package.
import { spawnSync } from 'node:child_process'
import { rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const here = dirname(fileURLToPath(import.meta.url))
const root = join(here, '..')
// prebuildify moves the first .node that it finds and reuses CMake's cache: start clean, so that no local option leaks in.
rmSync(join(root, 'build'), { recursive: true, force: true })
const prebuildify = createRequire(import.meta.url).resolve('prebuildify/bin.js')
const result = spawnSync(
  process.execPath,
  [prebuildify, '--napi', '--strip', '--tag-libc', '--node-gyp', join(here, 'build-native.mjs')],
  { stdio: 'inherit', cwd: root },
)
process.exit(result.status ?? 1)
