import { createHash } from 'node:crypto'
import { fileDigest } from '../formats/file-digest.ts'
import { familyOf } from './encoder-families.ts'

/**
 * By which a run, and features that are kept, know an encoder again: SHA-256 of its weights; and where a file beside them states what the
 * family's publisher has otherwise, of that too, for it changes the features.
 *
 * @throws what reading either throws
 */
export async function encoderDigest(name: string, file: string): Promise<string> {
  const weights = await fileDigest(file)
  const family = familyOf(name)
  const beside = (await family?.traitsBeside?.(file)) ?? {}
  const other = Object.entries(beside)
    .filter(([trait, value]) => value !== family?.traits[trait as keyof typeof beside])
    .sort(([a], [b]) => (a < b ? -1 : 1))
  if (other.length === 0) return weights
  return createHash('sha256')
    .update(`${weights}\n${JSON.stringify(other)}`)
    .digest('hex')
}
