import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { Dataset } from '../../src/data/dataset.ts'
import { Loader } from '../../src/data/loader.ts'
import { type SafetensorsSource, writeSafetensors } from '../../src/formats/safetensors-writer.ts'
import { writeTorchCheckpoint } from '../../src/formats/torch-checkpoint-writer.ts'
import { hostFloat32 } from '../../src/tensor/host-tensor.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { latentAt, latentShardFiles, stored, storedLabels } from './latent-shard-files.ts'

const COUNT = 5
const SIZE = 8
const plain = (i: number) => Float32Array.from({ length: SIZE }, (_, j) => latentAt(i, j))

const mean = Float32Array.from([1.1, -0.7])
const std = Float32Array.from([3.3, 0.9])
/** As float32 tensors are subtracted and divided. */
const standardised = (latent: Float32Array) => latent.map((x, j) => Math.fround(x - mean[j >> 2]!) / std[j >> 2]!)

async function withStatistics(kind: 'pt' | 'safetensors', values: { mean: Float32Array; std: Float32Array }) {
  const folder = await latentShardFiles()
  const path = join(folder, `latents_stats.${kind}`)
  const tensor = (each: Float32Array) => hostFloat32(each, [1, each.length, 1, 1])
  const [first, second] = [tensor(values.mean), tensor(values.std)]
  if (kind === 'pt') await writeTorchCheckpoint(path, { mean: first, std: second })
  else {
    await writeSafetensors(path, [
      { name: 'mean', ...first },
      { name: 'std', ...second },
    ])
  }
  return folder
}

const read = async (dataset: Dataset, index: number) =>
  (await dataset.read(index, { image: false, latent: true })).latent!

describe('Dataset of latents without images', () => {
  test.each(['f32', 'bf16', 'f16'] as const)('reads %s of every shard, and labels', async (dtype) => {
    const dataset = await Dataset.open(await latentShardFiles({ dtype }))
    expect(dataset).toMatchObject({
      length: COUNT,
      classes: 3,
      hasImages: false,
      flip: true,
      features: [],
      latentKind: 'points',
      latentScale: 1,
      latentShape: [2, 2, 2],
      storedLatentShape: [2, 2, 2],
    })
    expect([...dataset.labels]).toEqual([0, 1, 2, 0, 1])
    for (let i = 0; i < COUNT; i++) expect(await read(dataset, i)).toEqual(plain(i))
  })

  test('without the latents of mirror images none are drawn', async () => {
    expect((await Dataset.open(await latentShardFiles({ flip: false }))).flip).toBe(false)
  })

  test('where one file of several has none of mirror images, none are drawn', async () => {
    const folder = await latentShardFiles()
    await writeSafetensors(join(folder, 'z.safetensors'), [
      stored('latents', plain(0), [1, 2, 2, 2], 'f32'),
      storedLabels([1]),
    ])
    expect(await Dataset.open(folder)).toMatchObject({ length: COUNT + 1, flip: false })
  })

  test.each(['pt', 'safetensors'] as const)('standardises by latents_stats.%s', async (kind) => {
    const dataset = await Dataset.open(await withStatistics(kind, { mean, std }))
    expect(dataset.notice).toBeUndefined()
    for (let i = 0; i < COUNT; i++) expect(await read(dataset, i)).toEqual(standardised(plain(i)))
  })

  test('says that latents without statistics are taken as they are', async () => {
    const { notice } = await Dataset.open(await latentShardFiles())
    expect(notice).toContain(
      'states by what its latents are standardised: they are taken as they are. Put latents_stats',
    )
  })

  test.each([0, 2 ** 20])(
    'the loader takes either side with even chances, with a cache of %d bytes',
    async (cacheBytes) => {
      const dataset = await Dataset.open(await latentShardFiles({ counts: [5, 4, 7] }))
      const loader = new Loader(dataset, { batch: 8, seed: 1, images: false, flip: true, cacheBytes })
      const sides = { plain: 0, mirrored: 0 }
      let taken = 0
      for await (const { indices, latents, labels } of loader) {
        for (const [k, i] of indices.entries()) {
          const [first] = latents!.subarray(k * SIZE)
          expect([i, i + 16]).toContain(first)
          sides[first === i ? 'plain' : 'mirrored']++
          expect(latents!.subarray(k * SIZE, (k + 1) * SIZE)).toEqual(plain(first!))
          expect(labels[k]).toBe(i % 3)
        }
        if (++taken === 16) break
      }
      // 128 fair draws: outside of this once in 10,000.
      expect(Math.abs(sides.plain - sides.mirrored)).toBeLessThan(44)
    },
  )

  test('what needs images says that there are none', async () => {
    const folder = await latentShardFiles()
    const dataset = await Dataset.open(folder)
    const words = `'${folder}' holds latents without their images, which are needed here`
    await expect(dataset.read(0, { image: true, latent: false })).rejects.toThrow(words)
    const autoencoder = { name: 'any', latentChannels: 4, downsampling: 8, latentScale: 1, hasDeviations: false }
    expect(() => dataset.encoded(autoencoder)).toThrow(words)
  })

  test.each<[string, readonly SafetensorsSource[], string]>([
    ['without labels', [stored('latents', plain(0), [1, 2, 2, 2], 'f32')], 'it has latents f32 [1,2,2,2].'],
    [
      'with too few labels',
      [stored('latents', plain(0), [2, 1, 2, 2], 'f32'), storedLabels([1])],
      'is no shard of latents: expected latents [n, C, h, w], of f32, f16 or bf16, and labels [n]; it has',
    ],
    [
      'of a model',
      Array.from({ length: 9 }, (_, i) => stored(`w${i}`, plain(0), [8], 'f32')),
      'it has w0 f32 [8], w1 f32 [8], w2 f32 [8], w3 f32 [8], … (9 tensors).',
    ],
    [
      'of doubles',
      [stored('latents', plain(0), [1, 2, 2, 2], 'f64'), storedLabels([1])],
      'it has latents f64 [1,2,2,2], labels i64 [1].',
    ],
    [
      'of other mirror images',
      [
        stored('latents', plain(0), [1, 2, 2, 2], 'f32'),
        stored('latents_flip', plain(0).slice(0, 4), [1, 1, 2, 2], 'f32'),
        storedLabels([1]),
      ],
      'latents_flip is f32 of shape [1,1,2,2], latents f32 of [1,2,2,2]; expected the same.',
    ],
    [
      'of another shape than the first',
      [stored('latents', plain(0), [1, 1, 2, 4], 'f32'), storedLabels([1])],
      'has latents of [1,2,4], those before it [2,2,2]; expected one shape.',
    ],
    [
      'with a negative label',
      [stored('latents', plain(0), [1, 2, 2, 2], 'f32'), storedLabels([-1])],
      'label 0 is -1; expected a whole number of at least 0.',
    ],
  ])('refuses a file %s', async (_, tensors, message) => {
    const folder = await latentShardFiles()
    await writeSafetensors(join(folder, 'z.safetensors'), tensors)
    await expect(Dataset.open(folder)).rejects.toThrow(message)
    await expect(Dataset.open(folder)).rejects.toThrow(join(folder, 'z.safetensors'))
  })

  test.each<[string, { mean: Float32Array; std: Float32Array }, string]>([
    [
      'of other channels',
      { mean: new Float32Array(3), std: new Float32Array(3).fill(1) },
      'latents_stats.pt is of latents of 3 channels, and what lies beside it of 2;',
    ],
    ['without deviation', { mean, std: Float32Array.from([1, 0]) }, 'the standard deviation of channel 1 is 0'],
    ['of no numbers', { mean: Float32Array.from([0, Number.NaN]), std }, 'latents_stats.pt: mean is not finite.'],
  ])('refuses statistics %s', async (_, values, message) => {
    await expect(Dataset.open(await withStatistics('pt', values))).rejects.toThrow(message)
  })

  test('a folder with neither images nor shards is no data set, nor is a file', async () => {
    const folder = temporaryFolder()
    const file = join(folder, 'latents_stats.pt')
    writeFileSync(file, '')
    for (const path of [folder, file]) await expect(Dataset.open(path)).rejects.toThrow("has no folder 'images'")
  })
})
