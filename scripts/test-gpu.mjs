// Runs the tables of cases, the golden vectors and a training on a real GPU (cuda:0, or the one that REPA_TEST_DEVICES names).
// Fails where there is none: then nothing was tested.
import { spawnSync } from 'node:child_process'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')
const require = createRequire(import.meta.url)
const { state, reason, devices } = require('node-gyp-build')(root).cudaInfo()
if (state !== 'ready') {
  console.error(`test:gpu: ${reason}.`)
  process.exit(1)
}
for (const { ordinal, name, computeCapability } of devices)
  console.log(`cuda:${ordinal}: ${name}, compute capability ${computeCapability}`)
const vitest = join(dirname(require.resolve('vitest/package.json')), 'vitest.mjs')
const { status } = spawnSync(process.execPath, [vitest, 'run', '--project', 'gpu', ...process.argv.slice(2)], {
  cwd: root,
  stdio: 'inherit',
  env: { ...process.env, REPA_TEST_GPU: '1', REPA_TEST_DEVICES: process.env.REPA_TEST_DEVICES ?? 'cuda:0' },
})
process.exit(status ?? 1)
