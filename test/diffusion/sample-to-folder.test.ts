/** What sampling leaves behind, also where it fails. */
import { mkdir, mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test, vi } from 'vitest'
import { readImageHeader } from '../../src/data/image-header.ts'
import { type SampleToFolderOptions, sampleToFolder } from '../../src/diffusion/sample-to-folder.ts'
import { readSamplingRecord } from '../../src/diffusion/sampling-record.ts'
import { ALONE, type World } from '../../src/distributed/world.ts'
import { AutoencoderKL, autoencoderKLConfigSchema } from '../../src/models/autoencoder-kl.ts'
import { SiT } from '../../src/models/sit.ts'
import { StableDiffusionAutoencoder } from '../../src/models/stable-diffusion-autoencoder.ts'
import { modelOf } from '../training/tiny-trainer.ts'

/** What every PNG waits for. */
const png = vi.hoisted(() => ({ waitsFor: Promise.resolve() }))
vi.mock('../../src/data/png.ts', async (importOriginal) => {
  const original = await importOriginal<typeof import('../../src/data/png.ts')>()
  const encodePngAside: typeof original.encodePngAside = async (...image) => {
    await png.waitsFor
    return original.encodePngAside(...image)
  }
  return { ...original, encodePngAside }
})

async function folderOfTest(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'repa-sampled-'))
  onTestFinished(() => rm(folder, { recursive: true, force: true }))
  return folder
}

const UNGUIDED = { scale: 1, low: 0, high: 1 }

/** Images of a model of three channels. */
async function sampleThree(
  folder: string,
  options: Partial<SampleToFolderOptions>,
  inputSize: [height: number, width: number] = [4, 4],
): Promise<void> {
  using model = SiT.create({ depth: 1, hidden: 16, heads: 1, patch: 2 }, { classes: 3, channels: 3, inputSize })
  await sampleToFolder(model, {
    ...{ mode: 'ode', steps: 1, guidance: UNGUIDED, seed: 0, batch: 1, count: 2, folder },
    ...options,
  } as SampleToFolderOptions)
}

function autoencoderOf(latentChannels: number): StableDiffusionAutoencoder {
  const config = autoencoderKLConfigSchema.parse({
    ...{ blockChannels: [8, 16], layersPerBlock: 1, normGroups: 4 },
    latentChannels,
  })
  return new StableDiffusionAutoencoder(AutoencoderKL.fromConfig(config, 'cpu'), { name: 'kl', device: 'cpu' })
}

test("a batch's PNGs are made while the device makes the next batch", { timeout: 20_000 }, async () => {
  const folder = await folderOfTest()
  let begun = () => {}
  png.waitsFor = new Promise((resolve) => {
    begun = resolve
  })
  onTestFinished(() => {
    png.waitsFor = Promise.resolve()
  })
  await sampleThree(folder, { onProgress: (images) => images > 1 && begun() })
  expect((await readdir(folder)).sort()).toEqual(['000000.png', '000001.png', 'sampling.json'])
})

test('three channels are decoded where there is an autoencoder of three', async () => {
  const folder = await folderOfTest()
  using autoencoder = autoencoderOf(3)
  await sampleThree(folder, { autoencoder })
  expect((await readdir(folder)).sort()).toEqual(['000000.png', '000001.png', 'latents.npz', 'sampling.json'])
  expect(readImageHeader(await readFile(join(folder, '000001.png')))).toMatchObject({ width: 8, height: 8 })
  expect((await readSamplingRecord(folder))?.sampling.autoencoder).toBe('kl')
})

test('a model of pixels is refused an autoencoder of other channels', async () => {
  const folder = join(await folderOfTest(), 'samples')
  using autoencoder = autoencoderOf(4)
  await expect(sampleThree(folder, { autoencoder })).rejects.toThrow(
    'The model makes pixels, or latents, of 3 channels; the autoencoder kl decodes 4.',
  )
})

test('a grid that is too large is refused before there is an image', async () => {
  const folder = join(await folderOfTest(), 'samples')
  const many = { count: 50_000, grid: join(folder, 'grid.png') }
  await expect(sampleThree(folder, many, [256, 256])).rejects.toThrow('Show some 10753 of them at most.')
  await expect(readdir(folder)).rejects.toThrow('ENOENT')
})

test('what says how images were made is read again, whatever a sampler was asked for', async () => {
  const folder = await folderOfTest()
  await sampleThree(folder, { guidance: { scale: 2, low: -1, high: 1.5 } })
  expect((await readSamplingRecord(folder))?.sampling).toMatchObject({ guidanceLow: -1, guidanceHigh: 1.5 })
})

/** Two images of a model of latents, which go into an npz and into the folder's latents.npz. */
async function sampleInto(folder: string, world: World): Promise<void> {
  using model = modelOf()
  await sampleToFolder(model, {
    ...{ mode: 'ode', steps: 1, path: 'linear', guidance: UNGUIDED, seed: 0, batch: 1, count: 2, classes: [1] },
    ...{ folder, npz: join(folder, 'all.npz'), world },
  })
}

test('where the second of two arrays cannot be begun, nothing of the first is left', async () => {
  const folder = await folderOfTest()
  const inTheWay = `latents.npz.tmp-${process.pid}`
  await mkdir(join(folder, inTheWay))
  await expect(sampleInto(folder, ALONE)).rejects.toThrow('latents.npz')
  expect(await readdir(folder)).toEqual([inTheWay])
})

test.each([0, 1])('where another process fails, process %d leaves the images alone', async (rank) => {
  const folder = await folderOfTest()
  const meet = () => Promise.reject(new Error('process 2 of 3 has ended.'))
  await expect(sampleInto(folder, { ...ALONE, rank, size: 2, meet })).rejects.toThrow('process 2 of 3 has ended.')
  expect(await readdir(folder)).toEqual([`00000${rank}.png`])
})
