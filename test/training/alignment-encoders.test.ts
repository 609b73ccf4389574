/** Which encoders of a configuration need not run, for their features are with the data. */
import { expect, test } from 'vitest'
import { Dataset } from '../../src/data/dataset.ts'
import { encodersWithFeatures } from '../../src/training/alignment-encoders.ts'
import { type TrainingOptions, trainingSchema } from '../../src/training/configuration.ts'

const BOTH: TrainingOptions = { encoders: [{ name: 'hog' }, { name: 'dinov2-vit-b' }] }

/** A wide set, of which a model of patches of 2 has 16 by 24 tokens. HOG is built in, and has no file. */
const dataOf = (hog: [number, number]) =>
  Dataset.described({
    path: 'wide',
    length: 1000,
    classes: 1000,
    imageSize: 256,
    storedLatentShape: [8, 32, 48],
    features: [
      { encoder: 'hog', width: 144, grid: hog },
      { encoder: 'dinov2-vit-b', width: 768, grid: [16, 24], weights: '0'.repeat(64) },
    ],
  })

test('of several, each whose features are there', async () => {
  expect(await found(BOTH, dataOf([16, 24]))).toEqual({ cached: ['hog', 'dinov2-vit-b'], notices: [] })
})

test.each<readonly [obstacle: string, options: TrainingOptions, grid: [number, number]]>([
  ['no attention, which alignAttentionWeight compares', { ...BOTH, alignAttentionWeight: 0.5 }, [16, 24]],
  ['16 × 16 tokens, the model 16 × 24', BOTH, [16, 16]],
  ['24 × 16 tokens, the model 16 × 24', BOTH, [24, 16]],
  ['8 × 24 tokens, the model 16 × 24', BOTH, [8, 24]],
])('the first runs, and not the second, where its features have %s', async (obstacle, options, grid) => {
  const notices = [`The features of hog in 'wide' have ${obstacle}: the encoder runs.`]
  expect(await found(options, dataOf(grid))).toEqual({ cached: ['dinov2-vit-b'], notices })
})

async function found(options: TrainingOptions, data: Dataset) {
  const notices: string[] = []
  const configuration = trainingSchema.parse({ model: 'SiT-B/2', ...options })
  return { cached: await encodersWithFeatures(configuration, data, (sentence) => notices.push(sentence)), notices }
}
