import { describe, expect, test } from 'vitest'
import { HogEncoder } from '../../src/alignment/hog.ts'
import { alignmentOf, requireConsistentAlignment } from '../../src/training/alignment-settings.ts'
import { type TrainingOptions, trainingSchema } from '../../src/training/configuration.ts'

const parse = (options: TrainingOptions) => trainingSchema.parse(options)
const HOG = { encoders: [{ name: 'hog' }] } satisfies TrainingOptions

describe('what contradicts itself is refused in a sentence', () => {
  const CASES: readonly (readonly [options: TrainingOptions, message: string])[] = [
    [
      { ...HOG, alignDecay: 'linear' },
      '`alignDecay` linear needs the step at which the weight is 0; give `alignUntil`.',
    ],
    [
      { ...HOG, alignDecay: 'cosine', alignUntil: 9, cudaGraph: true },
      '`cudaGraph` replays a step with one weight of the alignment, and `alignDecay` cosine changes it at every step',
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

describe('a route is as it is named, and usual where it is not', () => {
  test.each([
    [12, {}, { from: 3, to: 9 }],
    [6, {}, { from: 3, to: 3 }],
    [12, { routeFrom: 2 }, { from: 2, to: 9 }],
    [12, { routeTo: 11 }, { from: 3, to: 11 }],
    [5, { routeFrom: 2 }, { from: 2, to: 2 }],
    [3, { routeFrom: 2, routeTo: 3 }, { from: 2, to: 3 }],
    // Refused by its own blocks, which were named: requireRoute.
    [3, { routeFrom: 3, routeTo: 2 }, { from: 3, to: 2 }],
  ])('of %d blocks by %j', (depth, named, blocks) => {
    const configuration = parse({ routeTokens: 0.5, ...named })
    expect(alignmentOf(configuration, [], depth).route).toEqual({ share: 0.5, ...blocks })
  })

  test.each([
    [3, {}, 'A model of 3 blocks has no usual route, from block 3 to the last but three'],
    [5, {}, 'A model of 5 blocks has no usual route, from block 3 to the last but three'],
    [5, { routeFrom: 3 }, 'A model of 5 blocks has no route from block 3 to the last but three'],
    [7, { routeFrom: 5 }, 'A model of 7 blocks has no route from block 5 to the last but three'],
    [12, { routeTo: 2 }, 'A model of 12 blocks has no route from block 3 to block 2'],
  ])('of %d blocks by %j there is none', (depth, named, message) => {
    const configuration = parse({ routeTokens: 0.5, ...named })
    expect(() => alignmentOf(configuration, [], depth)).toThrow(`${message}; give \`routeFrom\` and \`routeTo\`.`)
  })

  test('and is not asked for where no token goes past any', () => {
    expect(alignmentOf(parse({}), [], 3).route).toBeUndefined()
  })
})
