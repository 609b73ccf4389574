import { expect, test } from 'vitest'
import { otherEncoders, type RunEncoder } from '../../src/training/told-run.ts'

const ONE = { name: 'dinov2-vit-s', file: 'a', sha256: '1'.repeat(64) } satisfies RunEncoder
const MOVED = { ...ONE, file: 'b' }
const OTHERS = { ...ONE, sha256: '2'.repeat(64) }
const UNTOLD = { name: ONE.name } satisfies RunEncoder
const HOG = { name: 'hog' } satisfies RunEncoder
const [CLIP, CLIP_MOVED, ANOTHER] = [
  { file: 'clip', digest: '3'.repeat(64) },
  { file: 'elsewhere', digest: '3'.repeat(64) },
  { file: 'clip', digest: '4'.repeat(64) },
]
const WEIGHTS = "were aligned with other weights of dinov2-vit-s than this run's"
const NAME = 'were aligned with dinov2-vit-s, where this run has hog'
const CAPTIONS = "were shown captions by another encoder than this run's"

type Run = readonly [encoders: readonly RunEncoder[], captionEncoder?: typeof CLIP]

test.each<readonly [before: Run, now: Run, sentences: readonly string[]]>([
  [[[ONE]], [[ONE]], []],
  [[[ONE]], [[MOVED]], []],
  [[[ONE]], [[OTHERS]], [WEIGHTS]],
  [[[UNTOLD]], [[ONE]], []],
  [[[ONE]], [[UNTOLD]], []],
  [[[ONE]], [[HOG]], [NAME]],
  [[[ONE, HOG]], [[OTHERS]], [WEIGHTS]],
  [[[HOG]], [[HOG, ONE]], []],
  [[[]], [[ONE]], []],
  [[[], CLIP], [[], CLIP_MOVED], []],
  [[[], CLIP], [[], ANOTHER], [CAPTIONS]],
  [[[], CLIP], [[]], []],
  [[[]], [[], CLIP], []],
  [
    [[ONE], CLIP],
    [[HOG], ANOTHER],
    [NAME, CAPTIONS],
  ],
])('%#: weights that learnt with %j, for a run with %j', ([before, itsCaptions], [now, captions], sentences) => {
  const found = otherEncoders(
    { encoders: before, captionEncoder: itsCaptions },
    { encoders: [...now], captionEncoder: captions },
  )
  expect(found).toEqual(sentences)
})
