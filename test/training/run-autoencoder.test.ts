/** The autoencoder that a run decodes its samples with is one of latents as its data has them. */
import { describe, expect, test } from 'vitest'
import { Dataset } from '../../src/data/dataset.ts'
import { statisticsDigest } from '../../src/data/latent-encoder.ts'
import type { LatentStatistics } from '../../src/formats/latent-statistics.ts'
import { autoencoderDigest } from '../../src/models/autoencoder-files.ts'
import { loadAutoencoder } from '../../src/models/load-autoencoder.ts'
import { type TrainingOptions, trainingSchema } from '../../src/training/configuration.ts'
import { digestOfLatents, openAutoencoder, tellingStatistics } from '../../src/training/run-autoencoder.ts'
import { tinyDataset } from '../data/tiny-dataset.ts'
import { prepared } from './encoded-training.ts'
import { autoencoderWith, CHANNELS, latentsWith, ONE, OTHER } from './standardised-latents.ts'

const dataWith = async (...args: Parameters<typeof latentsWith>) => await Dataset.open(await latentsWith(...args))

/** Latents that an autoencoder with these statistics has made. */
async function preparedWith(statistics: LatentStatistics | undefined): Promise<Dataset> {
  using autoencoder = await loadAutoencoder(await autoencoderWith(statistics), { device: 'cpu' })
  return await Dataset.open(await prepared(8, autoencoder))
}

test.each([
  ['the same statistics', ONE, ONE, false],
  ['other statistics', ONE, OTHER, true],
  ['statistics of the data alone', ONE, undefined, true],
  ['statistics that are not told', undefined, ONE, false],
])('of prepared latents, %s: it is said where they differ', async (_, ofData, own, isSaid) => {
  const notices: string[] = []
  const configuration = trainingSchema.parse({ autoencoder: await autoencoderWith(own) })
  const options = { device: 'cpu', onNotice: (sentence: string) => notices.push(sentence) } as const
  using _autoencoder = await openAutoencoder(configuration, await preparedWith(ofData), options)
  expect(notices).toEqual(isSaid ? [expect.stringContaining('do not have the same statistics')] : [])
})

test('of prepared latents that another autoencoder would make images of another size of, it is said', async () => {
  using maker = await loadAutoencoder(await autoencoderWith(undefined, 1, 2), { device: 'cpu' })
  const data = await Dataset.open(await prepared(16, maker))
  const notices: string[] = []
  const file = await autoencoderWith(undefined)
  const options = { device: 'cpu', onNotice: (sentence: string) => notices.push(sentence) } as const
  using _autoencoder = await openAutoencoder(trainingSchema.parse({ autoencoder: file }), data, options)
  expect(notices).toEqual([
    expect.stringContaining(`are of images of 16 pixels, and the autoencoder ${file} makes 8 of them`),
  ])
})

async function opened(data: Dataset, autoencoder: string) {
  return await openAutoencoder(trainingSchema.parse({ autoencoder }), data, { device: 'cpu' })
}

test.each([
  ['the same statistics', ONE, ONE],
  ['none, and latents as they are', undefined, undefined],
])('%s: it decodes', async (_, ofData, own) => {
  using autoencoder = await opened(await dataWith(ofData), await autoencoderWith(own))
  expect(autoencoder!.latentChannels).toBe(CHANNELS)
})

const ADVICE =
  'name the one that made them, with the same file of statistics beside its weights and beside the latents.'

test.each([
  [
    'other statistics',
    ONE,
    OTHER,
    1,
    'are standardised by its file of statistics, and the autoencoder',
    'undoes other',
  ],
  ['statistics of the data alone', ONE, undefined, 1, 'are standardised by its file of statistics', 'undoes none'],
  ['statistics of the autoencoder alone', undefined, ONE, 1, 'for lack of statistics', 'undoes other statistics'],
  ['a scale of the autoencoder', undefined, undefined, 0.5, 'for lack of statistics', 'divides them by 0.5'],
] as const)('%s are refused', async (_, ofData, own, scale, latents, decoder) => {
  const refused = opened(await dataWith(ofData), await autoencoderWith(own, scale))
  await expect(refused).rejects.toThrow(latents)
  await expect(refused).rejects.toThrow(decoder)
  await expect(refused).rejects.toThrow(ADVICE)
})

test('one of other channels is refused', async () => {
  await expect(opened(await dataWith(undefined, 4), await autoencoderWith(ONE))).rejects.toThrow(
    'are latents of 4 channels; the autoencoder',
  )
})

describe('digestOfLatents', () => {
  const digest = (
    data: Dataset,
    latentsDigest?: TrainingOptions['latentsDigest'],
    more: Partial<TrainingOptions> = {},
  ) => digestOfLatents(trainingSchema.parse({ latentsDigest, ...more }), data)

  test.each([
    ['other', ONE, OTHER, 'are standardised by other statistics than when the run began;'],
    ['some, where there were none', undefined, ONE, 'are standardised by other statistics than when the run began;'],
    ['none, where there were some', ONE, undefined, 'are not standardised, as they were when the run began;'],
  ])('holds a run to the statistics of its latents: %s are refused', async (_, first, then, message) => {
    const began = await digest(await dataWith(first))
    expect(await digest(await dataWith(first), began)).toBe(began)
    await expect(digest(await dataWith(then), began)).rejects.toThrow(message)
  })

  test('holds a run that encodes to all that its autoencoder is read from', async () => {
    const data = await dataWith(undefined)
    const encodes = (autoencoder: string) => ({ autoencoder, encodeLatents: true })
    const began = await digest(data, undefined, encodes(await autoencoderWith(ONE)))
    expect(began).toBe(await autoencoderDigest(await autoencoderWith(ONE)))
    expect(await digest(data, began, encodes(await autoencoderWith(ONE)))).toBe(began)
    // As a run tells it that has opened its autoencoder.
    const encoded = trainingSchema.parse({ latentsDigest: began })
    const told = tellingStatistics(encoded, { statistics: ONE }).latentsDigest
    expect(told).toEqual({ files: began, statistics: statisticsDigest(ONE) })
    expect(await digest(data, told, encodes(await autoencoderWith(ONE)))).toEqual(told)
    expect(tellingStatistics(encoded, { statistics: undefined })).toBe(encoded)
    for (const other of [await autoencoderWith(OTHER), await autoencoderWith(undefined)]) {
      await expect(digest(data, began, encodes(other))).rejects.toThrow(
        `${other} makes other latents than the autoencoder that the run began with: SHA-256`,
      )
    }
  })

  test('holds a run to the statistics of prepared latents, where it began with some', async () => {
    const [ones, others, none] = [await preparedWith(ONE), await preparedWith(OTHER), await preparedWith(undefined)]
    const began = await digest(ones)
    expect(began).toEqual({ statistics: statisticsDigest(ONE) })
    expect(await digest(ones, began)).toEqual(began)
    expect(await digest(none)).toBeUndefined()
    // A set of an older version tells none, and is taken for the same.
    expect(await digest(none, began)).toEqual(began)
    await expect(digest(others, began)).rejects.toThrow('are standardised by other statistics than when the run began;')
  })

  test('is none of prepared latents', async () => {
    expect(await digest(await Dataset.open(await tinyDataset()))).toBeUndefined()
  })
})
