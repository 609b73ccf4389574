import type { KeyedRandom } from '../data/keyed-random.ts'

/** Which patches of a batch's images are seen, V of an image, and which are not, M of it. */
export interface Masks {
  readonly visibleCount: number
  readonly maskedCount: number
  /** [B, V]: places in the grid, in the order in which they were drawn. */
  readonly visible: Int32Array
  /** [B, M] */
  readonly masked: Int32Array
  /** [B, V + M]: for every place of the grid which of the visible patches it is, or −1. */
  readonly order: Int32Array
}

/**
 * How many of an image's patches are seen and how many are not.
 *
 * @throws RangeError where one of the two is none
 */
export function maskCounts(patches: number, ratio: number): Pick<Masks, 'visibleCount' | 'maskedCount'> {
  const visibleCount = Math.trunc(patches * (1 - ratio))
  const maskedCount = patches - visibleCount
  if (visibleCount >= 1 && maskedCount >= 1) return { visibleCount, maskedCount }
  throw new RangeError(
    `Of ${patches} patches a mask of ${ratio} leaves ${visibleCount} visible and ${maskedCount} masked; at least one of each is needed: take smaller patches.`,
  )
}

/** A part of every image's patches to be masked, all choices of so many equally likely (MAE's random_masking). */
export function randomMasks(batch: number, patches: number, ratio: number, random: KeyedRandom): Masks {
  const { visibleCount, maskedCount } = maskCounts(patches, ratio)
  const visible = new Int32Array(batch * visibleCount)
  const masked = new Int32Array(batch * maskedCount)
  const order = new Int32Array(batch * patches).fill(-1)
  const drawn = new Int32Array(patches)
  for (let b = 0; b < batch; b++) {
    for (let i = 0; i < patches; i++) drawn[i] = i
    // Fisher and Yates's shuffle, as far as it is looked at.
    for (let i = 0; i < visibleCount; i++) {
      const j = i + Math.floor(random.uniform(0, patches - i))
      const taken = drawn[j]!
      drawn[j] = drawn[i]!
      drawn[i] = taken
      order[b * patches + taken] = i
    }
    visible.set(drawn.subarray(0, visibleCount), b * visibleCount)
    masked.set(drawn.subarray(visibleCount), b * maskedCount)
  }
  return { visibleCount, maskedCount, visible, masked, order }
}
