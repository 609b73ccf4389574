import { expect, test } from 'vitest'
import type { LatentEncoder } from '../../src/data/latent-encoder.ts'
import { measureLatents } from '../../src/data/measure-latents.ts'
import { prepareDataset } from '../../src/data/prepare.ts'
import { openPreparedImages, pixelBatches } from '../../src/data/prepared-images.ts'
import { blockMoments, pictures, setup } from './preparing.ts'

const IMAGES = 11

async function prepared(): Promise<string> {
  const options = setup(pictures(IMAGES))
  await prepareDataset(options)
  return options.out
}

/** Every pixel of a prepared set, by channel. */
async function pixelsOf(data: string): Promise<number[][]> {
  const images = await openPreparedImages(data)
  const channels: number[][] = [[], [], []]
  for await (const batch of pixelBatches(images, [{ begin: 0, end: IMAGES }])) {
    for (const pixels of batch.images) for (const [i, value] of pixels.entries()) channels[i % 3]!.push(value)
  }
  return channels
}

test('what is measured of the means and deviations of blocks are the mean and deviation of all pixels', async () => {
  const data = await prepared()
  const seen: [number, number][] = []
  const { mean, std, images } = await measureLatents({
    data,
    encoder: blockMoments,
    onProgress: (done, total) => seen.push([done, total]),
  })
  expect(images).toBe(IMAGES)
  expect(seen).toEqual([0, 4, 8, 11].map((done) => [done, IMAGES]))
  for (const [channel, pixels] of (await pixelsOf(data)).entries()) {
    expect(pixels).toHaveLength(IMAGES * 16 * 16)
    const centre = pixels.reduce((sum, value) => sum + value, 0) / pixels.length
    const deviation = Math.sqrt(pixels.reduce((sum, value) => sum + (value - centre) ** 2, 0) / pixels.length)
    // The moments are of float32: each is off by 2^-24 of itself at most, and so is the result.
    expect(Math.abs(mean[channel]! - centre)).toBeLessThanOrEqual(255 * 2 ** -23)
    // A variance from squares of up to 255, over twice the deviation.
    expect(Math.abs(std[channel]! - deviation)).toBeLessThanOrEqual((255 ** 2 * 2 ** -21) / (2 * deviation))
    expect(deviation).toBeGreaterThan(10)
  }
})

/** Remembers what it has encoded. */
function recording(): LatentEncoder & { readonly seen: Set<string> } {
  const seen = new Set<string>()
  const encode: LatentEncoder['encode'] = (images, size) => {
    for (const pixels of images) seen.add(Buffer.from(pixels).toString('base64'))
    return blockMoments.encode(images, size)
  }
  return { ...blockMoments, encode, seen }
}

test('of more images than are wanted so many are drawn, each once, by the seed', async () => {
  const data = await prepared()
  const draw = async (seed: number) => {
    const encoder = recording()
    const { mean, images } = await measureLatents({ data, encoder, images: 5, seed })
    expect([images, encoder.seen.size]).toEqual([5, 5])
    return { mean, seen: [...encoder.seen].sort() }
  }
  const [first, again, other] = [await draw(0), await draw(0), await draw(1)]
  expect(again).toEqual(first)
  expect(other.seen).not.toEqual(first.seen)
})

test.each<readonly [string, Partial<LatentEncoder>, number, string]>([
  ['no image', {}, 0, 'The latents of 0 images cannot be measured; expected a whole number of at least 1.'],
  [
    'latents of one value',
    { encode: async (images) => images.map(() => Float32Array.from({ length: 24 }, (_, i) => (i < 12 ? 7 : 0))) },
    IMAGES,
    "Channel 0 of the latents of 'block-moments' is 7 everywhere; there is nothing to standardise it by.",
  ],
  // Of which the mean of the squares is not the square of the mean, in double.
  ...[0.1, 3.3, 12.7].map(
    (value) =>
      [
        `latents that are ${value}`,
        {
          encode: async (images) => images.map(() => Float32Array.from({ length: 24 }, (_, i) => (i < 12 ? value : 0))),
        },
        IMAGES,
        `Channel 0 of the latents of 'block-moments' is ${Math.fround(value)} everywhere;`,
      ] as readonly [string, Partial<LatentEncoder>, number, string],
  ),
  [
    'latents that are not finite',
    { encode: async (images) => images.map(() => new Float32Array(24).fill(Number.NaN)) },
    IMAGES,
    "gives latents of '00000/img00000000.png' that are not finite;",
  ],
])('%s: refused', async (_, encoder, images, sentence) => {
  await expect(
    measureLatents({ data: await prepared(), encoder: { ...blockMoments, ...encoder }, images }),
  ).rejects.toThrow(sentence)
})

test('stops where it is asked to', async () => {
  const stop = new AbortController()
  const call = measureLatents({
    data: await prepared(),
    encoder: blockMoments,
    signal: stop.signal,
    onProgress: (done) => done === 4 && stop.abort(new Error('enough')),
  })
  await expect(call).rejects.toThrow('enough')
})
