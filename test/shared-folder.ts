import { existsSync } from 'node:fs'
import { join } from 'node:path'

/** What tests read and the repository does not hold: `$REPA_SHARED`, else the folder `shared` beside the repository. */
export const sharedFolder = process.env.REPA_SHARED ?? join(import.meta.dirname, '../../shared')

/** Golden vectors. */
export const goldenFolder = join(sharedFolder, 'golden')

export const haveGolden = existsSync(join(goldenFolder, 'manifest.json'))

/** For the names of suites that need them: says why they were skipped. */
export const goldenSuffix = suffix(haveGolden, 'golden vectors')

/** Real images, in archives. */
export const imagesFolder = join(sharedFolder, 'data')

export const haveImages = existsSync(imagesFolder)

export const imagesSuffix = suffix(haveImages, 'real images')

function suffix(have: boolean, what: string): string {
  return have ? '' : ` (skipped: no ${what}; set REPA_SHARED to the folder that has them)`
}
