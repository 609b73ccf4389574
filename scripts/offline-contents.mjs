// What pack-offline.mjs packs beside the addon and Node.
import { readFileSync } from 'node:fs'

const { dependencies } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'))

/** Of the package's dependencies those that build the addon, which is built. */
const BUILDERS = ['cmake-js', 'node-addon-api', 'node-api-headers']
/** What running and testing need; the rest of node_modules builds, formats and checks types. */
export const PACKAGES = [
  ...Object.keys(dependencies).filter((dependency) => !BUILDERS.includes(dependency)),
  'vitest',
  'vite',
]
export const FILES = [
  'package.json',
  'tsconfig.json',
  'vitest.config.ts',
  'README.md',
  'LICENSE',
  'dist',
  'src',
  'test',
  'bench',
  'recipes',
  'scripts/test-gpu.mjs',
  'scripts/gpu-session.mjs',
  'scripts/gpu-session-plan.mjs',
  'scripts/gpu-products.mjs',
  'scripts/gpu-profile.mjs',
  'scripts/gpu-profile-launches.mjs',
  'scripts/ncu-report.mjs',
]
