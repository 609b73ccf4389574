/** Layers of models that are shown latents which an autoencoder makes of the images, beside those of prepared latents. */
import { describe, expect, test } from 'vitest'
import { HogEncoder } from '../../src/alignment/hog.ts'
import { Dataset } from '../../src/data/dataset.ts'
import { evaluateCknna } from '../../src/evaluation/cknna.ts'
import { evaluateProbe } from '../../src/evaluation/probe.ts'
import { AUTOENCODERS } from '../models/tiny-autoencoders.ts'
import { modelFor, prepared } from '../training/encoded-training.ts'

const common = { path: 'linear', seed: 4, batch: 3, layers: [1, 2], noise: [0, 0.5] } as const

describe.each(AUTOENCODERS)('latents made by $name', ({ size, make }) => {
  test('give the curves of those that were prepared', async () => {
    using autoencoder = await make('cpu')
    const stored = await Dataset.open(await prepared(size, autoencoder))
    const images = await Dataset.open(await prepared(size))
    using model = modelFor(stored, 'cpu')
    const schedule = { epochs: 3, batch: 4 }
    const probe = await evaluateProbe({ ...common, model, data: stored, schedule })
    expect(await evaluateProbe({ ...common, model, data: images, autoencoder, schedule })).toEqual(probe)
    using encoder = new HogEncoder()
    const nearest = { encoder, neighbours: 3 }
    const cknna = await evaluateCknna({ ...common, ...nearest, model, data: stored })
    const encoded = await evaluateCknna({ ...common, ...nearest, model, data: images, autoencoder })
    expect(encoded.points).toHaveLength(cknna.points.length)
    for (const [i, { mutualKnn, cknna: value }] of encoded.points.entries()) {
      expect(mutualKnn).toBe(cknna.points[i]!.mutualKnn)
      // Products of so few rows as three images of 16 pixels have are summed in another order than those of eight.
      expect(value).toBeCloseTo(cknna.points[i]!.cknna, 6)
    }
    await expect(evaluateProbe({ ...common, model, data: images, schedule })).rejects.toThrow(
      'or the autoencoder that made its latents.',
    )
  })
})
