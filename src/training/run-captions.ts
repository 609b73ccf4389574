import { captionsDigest } from '../data/captions.ts'
import type { Dataset } from '../data/dataset.ts'
import type { TrainingConfiguration } from './configuration.ts'

/**
 * Digest of the captions that a run of text is told; undefined for a run of classes.
 *
 * @throws {Error} where it is not that of the configuration, which the run began with
 */
export function digestOfCaptions(
  { captionEncoder, captionsDigest: wanted }: TrainingConfiguration,
  { path, captions }: Dataset,
): string | undefined {
  if (!captionEncoder || !captions) return wanted
  const found = captionsDigest(captions)
  if (wanted === undefined || wanted === found) return found
  throw new Error(
    `The captions in ${path} are others than when the run began: SHA-256 ${found.slice(0, 12)}…, not ${wanted.slice(0, 12)}…; put back those ` +
      'that were there; a new run may begin from the weights by `init`, with captionsDigest left out of its configuration.',
  )
}
