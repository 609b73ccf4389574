import { keyedRandom } from '../data/keyed-random.ts'
import { EMPTY_CAPTION } from '../text/encoded-captions.ts'

/** Keeps these draws apart from whatever else is drawn by seed and step: "capt" in ASCII. */
const CAPTION_STREAM = 0x63_61_70_74

export interface CaptionDraw {
  /** Samples of the step, in all processes. */
  readonly batch: number
  /** This process's first one. */
  readonly firstSample: number
  readonly seed: number
  readonly step: number
  /** Probability of the empty caption. */
  readonly dropout: number
}

/**
 * A caption for each of this process's samples, whose captions are given: one of them, each with the same probability, or the empty one, as
 * REPA's dataset.py draws them for text. What is drawn for a sample depends on its place in the batch, and on no process.
 */
export function drawCaptions(
  captions: readonly (readonly string[])[],
  { batch, firstSample, seed, step, dropout }: CaptionDraw,
): string[] {
  const random = keyedRandom(seed, CAPTION_STREAM, step)
  const drawn = Array.from({ length: batch }, () => [random.uniform(), random.uniform()] as const)
  return captions.map((own, i) => {
    const [which, drop] = drawn[firstSample + i]!
    if (drop < dropout) return EMPTY_CAPTION
    return own[Math.floor(which * own.length)] ?? EMPTY_CAPTION
  })
}
