import { createHash } from 'node:crypto'
import type { DatasetListing } from './dataset-listing.ts'

/** Names that are hashed at once: one by one a million takes seconds, all at once their whole text in memory. */
const NAMES_AT_ONCE = 4096

/**
 * SHA-256 of what a data set's folder says of its samples: the images' names and labels by index, what made its latents and features, and
 * whatever else `shape` says. Where it lies does not count, and no image or latent is read: copies of one set have one digest.
 */
export function digestOfListing(
  { images, labels, latentSettings, latentScale, hasDeviations, flip, features }: DatasetListing,
  shape: object,
): string {
  const hash = createHash('sha256')
  const settings = { ...shape, latentSettings, latentScale, hasDeviations, flip, features }
  hash.update(`${JSON.stringify(settings)}\n`)
  hash.update(new Uint8Array(labels.buffer, labels.byteOffset, labels.byteLength))
  for (let first = 0; first < images.length; first += NAMES_AT_ONCE) {
    // No file's name has this character.
    hash.update(`${images.slice(first, first + NAMES_AT_ONCE).join('\0')}\0`)
  }
  return hash.digest('hex')
}
