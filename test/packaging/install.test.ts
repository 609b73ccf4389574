/** What npm's install step does with an addon that loads. */

import { spawnSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { ROOT } from '../conventions/source-files.ts'
import { temporaryFolder } from '../temporary-folder.ts'

test.each([
  { name: 'the package of npm takes it', has: [], tools: true, builds: false },
  { name: 'a clone, whose sources may have changed, builds what has', has: ['src'], tools: true, builds: true },
  { name: 'a clone on a machine without tools takes it', has: ['src'], tools: false, builds: false },
])('$name', ({ has, tools, builds }) => {
  const root = temporaryFolder()
  for (const folder of ['scripts', 'bin', 'node_modules/node-gyp-build', ...has]) {
    mkdirSync(join(root, folder), { recursive: true })
  }
  for (const script of ['install.mjs', 'missing-tools.mjs']) {
    cpSync(join(ROOT, 'scripts', script), join(root, 'scripts', script))
  }
  const built = join(root, 'built')
  writeFileSync(
    join(root, 'scripts/build-native.mjs'),
    `import fs from 'node:fs'; fs.writeFileSync(${JSON.stringify(built)}, '')`,
  )
  writeFileSync(join(root, 'node_modules/node-gyp-build/index.js'), 'module.exports = () => ({})')
  for (const tool of tools ? ['cmake', 'g++', 'make'] : []) {
    writeFileSync(join(root, 'bin', tool), '#!/bin/sh\nexit 0\n', { mode: 0o755 })
  }
  const { status, stderr } = spawnSync(process.execPath, [join(root, 'scripts/install.mjs')], {
    env: { PATH: join(root, 'bin') },
    encoding: 'utf8',
  })
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
  expect(existsSync(built)).toBe(builds)
})
