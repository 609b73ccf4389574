import { describe, expect, test } from 'vitest'
import { HogEncoder } from '../../src/alignment/hog.ts'
import { alignmentOf, requireConsistentAlignment } from '../../src/training/alignment-settings.ts'
import { type TrainingOptions, trainingSchema } from '../../src/training/configuration.ts'

const parse = (options: TrainingOptions) => trainingSchema.parse(options)
const HOG = { encoders: [{ name: 'hog' }] } satisfies TrainingOptions

describe('what contradicts itself is refused in a sentence', () => {
  const CASES: readonly (readonly [options: TrainingOptions, message: string])[] = [
    [{ alignLoss: 'nt-xent' }, 'alignLoss nt-xent compares with an encoder, and none is named; name one by --encoder'],
    [{ projector: 'conv' }, "The projector conv projects to an encoder's features, and none is named"],
    [{ alignSpatialNorm: 0.6 }, "alignSpatialNorm normalises an encoder's features, and none is named"],
    [{ alignUntil: 5 }, 'alignUntil ends an alignment, and there is none'],
    [{ alignAttentionWeight: 0.5 }, "alignAttentionWeight compares attention with an encoder's, and none is named;"],
    [
      { ...HOG, alignAttentionHeads: 3 },
      'alignAttentionBlocks and alignAttentionHeads say what of the attention is compared, and none is;',
    ],
    [{ routeFrom: 3 }, 'routeFrom and routeTo say past which blocks tokens go, and none goes past any'],
    [{ routeTo: 9 }, 'routeFrom and routeTo say past which blocks tokens go, and none goes past any'],
    [
      { ...HOG, alignDecay: 'linear' },
      'alignDecay linear needs the step at which the weight is 0; give --align-until.',
    ],
    [
      { ...HOG, alignDecay: 'cosine', alignUntil: 9, cudaGraph: true },
      'cudaGraph replays a step with one weight of the alignment, and alignDecay cosine changes it at every step',
    ],
  ]
  test.each(CASES)('%j', (options, message) => {
    expect(() => requireConsistentAlignment(parse(options))).toThrow(message)
  })
})

describe('what goes together', () => {
  const CASES: readonly TrainingOptions[] = [
    {},
    HOG,
    { ...HOG, alignLoss: 'nt-xent', projector: 'conv', alignSpatialNorm: 0.6, alignUntil: 10, alignDecay: 'linear' },
    { ...HOG, alignUntil: 10, cudaGraph: true },
    { selfAlignWeight: 0.2, alignUntil: 10, alignDecay: 'cosine' },
    { ...HOG, selfAlignWeight: 0.2, dispersiveWeight: 0.5 },
  ]
  test.each(CASES)('%j', (options) => {
    requireConsistentAlignment(parse(options))
  })
})

test('defaults follow from the depth', () => {
  const configuration = parse({
    ...HOG,
    model: 'SiT-XL/2',
    selfAlignWeight: 0.2,
    dispersiveWeight: 0.5,
    contrastiveWeight: 0.05,
    routeTokens: 0.5,
  })
  using hog = new HogEncoder()
  expect(alignmentOf(configuration, [hog], 28)).toMatchObject({
    align: { depth: 8, weight: 0.5, loss: 'cosine', projector: 'mlp', spatialNorm: undefined },
    selfAlign: { depth: 8, teacherDepth: 20, weight: 0.2, timeOffset: 0.2 },
    disperse: { depth: 7, weight: 0.5, temperature: 0.5 },
    contrast: { weight: 0.05 },
    route: { share: 0.5, from: 3, to: 25 },
  })
  expect(Object.keys(alignmentOf(parse({}), [], 12))).toEqual(['alignSchedule'])
})
