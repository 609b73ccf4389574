/** Trainings whose latents are made of every batch's images, beside those on latents that were prepared. */
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { Dataset } from '../../src/data/dataset.ts'
import type { Autoencoder } from '../../src/models/autoencoder.ts'
import { Trainer } from '../../src/training/trainer.ts'
import type { TrainerOptions } from '../../src/training/trainer-options.ts'
import { AUTOENCODERS } from '../models/tiny-autoencoders.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { modelFor, prepared, SAMPLES, trained } from './encoded-training.ts'
import { align, BATCH, digestOf, modelOf, steps, tinyTrainer } from './tiny-trainer.ts'

const VARIANTS: readonly { readonly name: string; readonly options: Partial<TrainerOptions> }[] = [
  { name: 'the plain objective', options: {} },
  { name: 'REPA', options: { align } },
  { name: 'REPA that ends', options: { align, alignSchedule: { until: 2 } } },
  { name: 'two passes', options: { align, accumulate: 2 } },
  { name: 'contrasted flows in two passes', options: { contrast: { weight: 0.05 }, accumulate: 2 } },
  { name: 'no mirror images', options: { flip: false } },
]

describe('latents that are made as a run trains', () => {
  describe.each(AUTOENCODERS)('by $name', ({ size, make }) => {
    test.each(VARIANTS)('$name: the bits of training on those that were prepared', async ({ options }) => {
      using autoencoder = await make('cpu')
      const [stored, images] = [await prepared(size, autoencoder), await prepared(size)]
      const expected = await trained(stored, undefined, 'cpu', options)
      expect(await trained(images, autoencoder, 'cpu', options)).toEqual(expected)
      // Whatever latents the data hold.
      expect(await trained(stored, autoencoder, 'cpu', options)).toEqual(expected)
    })
  })

  test.each(AUTOENCODERS)('by $name: a resumed run has the bits of an unbroken one', async ({ size, make }) => {
    using autoencoder = await make('cpu')
    const path = await prepared(size)
    const { digest } = await trained(path, autoencoder, 'cpu', {})
    const data = await Dataset.open(path)
    const options = { data, autoencoder, batch: BATCH, learningRate: 1e-3 }
    using model = modelFor(data.encoded(autoencoder), 'cpu')
    let checkpoint: string
    {
      await using trainer = new Trainer({ model, ...options })
      await steps(trainer, 2)
      checkpoint = await trainer.save(join(temporaryFolder(), 'run'))
    }
    await using trainer = new Trainer({ model, ...options })
    await trainer.restore(checkpoint)
    await steps(trainer, 4)
    expect(await digestOf(trainer)).toBe(digest)
  })

  const { make, size } = AUTOENCODERS[0]!

  test('are described as latents, and cannot be read', async () => {
    using autoencoder = await make('cpu')
    const plain = await Dataset.open(await prepared(size))
    const data = plain.encoded(autoencoder)
    expect(plain).toMatchObject({ latentKind: 'pixels', latentShape: [3, size, size], encodedBy: undefined })
    expect(data).toMatchObject({
      latentKind: 'moments',
      latentShape: [4, size / 4, size / 4],
      latentScale: 0.18215,
      encodedBy: 'kl',
      length: SAMPLES,
      classes: 2,
      flip: true,
      notice: undefined,
    })
    await expect(data.read(0, { image: false, latent: true })).rejects.toThrow(
      /^The latents of '.*' are made of its images, by kl; none can be read\.$/,
    )
    expect((await data.read(0, { image: true, latent: false })).image).toHaveLength(3 * size ** 2)
    const odd = await Dataset.open(await prepared(18))
    expect(() => odd.encoded(autoencoder)).toThrow(/are 18 pixels wide; kl encodes such as are multiples of 4\.$/)
  })

  test('are refused of a model of others, and of what is no autoencoder', async () => {
    using autoencoder = await make('cpu')
    const data = await prepared(size)
    using model = modelOf()
    await expect(tinyTrainer(model, data, { autoencoder })).rejects.toThrow(
      `are latents of 4 x ${size / 4} x ${size / 4}, the model takes 4 x 8 x 8`,
    )
    const other = { latentChannels: 4 } as unknown as Autoencoder
    await expect(tinyTrainer(model, data, { autoencoder: other })).rejects.toThrow(
      'expected an autoencoder, as loadAutoencoder gives it.',
    )
  })
})
