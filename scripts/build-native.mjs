#!/usr/bin/env node
// Builds the addon with cmake-js into build/Release. Also what binding.gyp calls, and what prebuildify runs in node-gyp's
// place (its arguments, rebuild --target=… --arch=…, mean nothing to CMake and are dropped).
//   --no-cuda    no CUDA kernels, even where nvcc is found; REPA_CUDA=off says the same where npm calls this
//   --simt       also the addon whose CUDA kernels run on the CPU, for the tests: into build/simt, with these under a sanitizer each into
//                build/simt-asan and build/simt-tsan, and with a count of what they ask of memory into build/simt-traffic
//   --debug      unoptimised JS surface and ops (kernels stay optimised)
//   --sanitize   AddressSanitizer and UndefinedBehaviorSanitizer, into build/sanitize (CONTRIBUTING.md says how to run the suite on it)
import { spawnSync } from 'node:child_process'
import { createRequire } from 'node:module'
import { availableParallelism } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { missingTools } from './missing-tools.mjs'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const missing = missingTools()
if (missing) {
  console.error(missing)
  process.exit(1)
}
const require = createRequire(import.meta.url)
const cmakeJs = join(dirname(require.resolve('cmake-js/package.json')), 'bin', 'cmake-js')
const sanitize = process.argv.includes('--sanitize')
const withoutCuda = process.argv.includes('--no-cuda') || process.env.REPA_CUDA === 'off'
const options = [
  ...['-d', root],
  // Not build/ itself: node-gyp keeps a Makefile of its own there.
  ...['-O', join(root, 'build', sanitize ? 'cmake-sanitize' : 'cmake')],
  ...['--config', process.argv.includes('--debug') ? 'Debug' : 'Release'],
  ...['-p', String(availableParallelism())],
  ...['-l', 'warn'],
  `--CDREPA_SANITIZE=${sanitize ? 'ON' : 'OFF'}`,
  `--CDREPA_CUDA=${withoutCuda ? 'OFF' : 'ON'}`,
  // CMake keeps what it finds, and a Node that a version manager has removed since would be asked for its headers for ever.
  `--CDNODE_EXECUTABLE=${process.execPath}`,
  `--CDREPA_BUILD_SIMT=${process.argv.includes('--simt') ? 'ON' : 'OFF'}`,
]
// Under make (node-gyp's) these would reach CMake's own make.
const { MAKEFLAGS: _flags, MFLAGS: _mflags, MAKELEVEL: _level, ...env } = process.env
// Not cmake-js compile: it answers a failed build with a full clean rebuild.
for (const verb of ['configure', 'build']) {
  const result = spawnSync(process.execPath, [cmakeJs, verb, ...options], { stdio: ['ignore', 2, 2], env })
  if (result.status !== 0) {
    console.error(`repa-native: building the addon failed (cmake-js ${verb}); the lines above say why.`)
    process.exit(result.status ?? 1)
  }
}
