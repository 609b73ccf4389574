import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const shared = process.env.REPA_SHARED ?? fileURLToPath(new URL('../../../shared', import.meta.url))

/** Where the golden vectors are; they stand beside the repository, not in it. */
export const goldenFolder = join(shared, 'golden')

export const haveGolden = existsSync(join(goldenFolder, 'manifest.json'))

/** For the names of suites that need them. */
export const goldenSuffix = haveGolden
  ? ''
  : ' (skipped: no golden vectors; set REPA_SHARED to the folder that has them)'
