/** What sampling leaves behind, also where it fails. */
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test, vi } from 'vitest'
import { ConfigurationError } from '../../src/configuration/parse.ts'
import { readImageHeader } from '../../src/data/image-header.ts'
import { type SampleToFolderOptions, sampleToFolder } from '../../src/diffusion/sample-to-folder.ts'
import { readSamplingRecord } from '../../src/diffusion/sampling-record.ts'
import { ALONE, type World } from '../../src/distributed/world.ts'
import { nodeFileSystem, temporaryPath } from '../../src/formats/atomic-file.ts'
import { FileAccessError } from '../../src/formats/errors.ts'
import { FolderInUse, IN_USE_FILE } from '../../src/formats/folder-in-use.ts'
import { AutoencoderKL, autoencoderKLConfigSchema } from '../../src/models/autoencoder-kl.ts'
import { SiT } from '../../src/models/sit.ts'
import { StableDiffusionAutoencoder } from '../../src/models/stable-diffusion-autoencoder.ts'
import { together } from '../distributed/together.ts'
import { failingFileSystem } from '../formats/failing-file-system.ts'
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
    mode: 'ode',
    steps: 1,
    guidance: UNGUIDED,
    seed: 0,
    batch: 1,
    count: 2,
    folder,
    ...options,
  } as SampleToFolderOptions)
}

function autoencoderOf(latentChannels: number): StableDiffusionAutoencoder {
  const config = autoencoderKLConfigSchema.parse({
    blockChannels: [8, 16],
    layersPerBlock: 1,
    normGroups: 4,
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
  expect((await readdir(folder)).sort()).toEqual(['000000.png', '000001.png', 'sampling.json'])
  expect(readImageHeader(await readFile(join(folder, '000001.png')))).toMatchObject({ width: 8, height: 8 })
  expect((await readSamplingRecord(folder))?.sampling.autoencoder).toBe('kl')
})

test.each([
  ['decoded', 4, undefined, false],
  ['decoded, and asked for', 4, true, true],
  ['not decoded', undefined, undefined, true],
  ['not decoded, and asked not to be there', undefined, false, false],
])('latents that are %s', async (_, channels, latents, isThere) => {
  const folder = await folderOfTest()
  using autoencoder = channels === undefined ? undefined : autoencoderOf(channels)
  using model = modelOf()
  const result = await sampleToFolder(model, {
    ...({ mode: 'ode', steps: 1, guidance: UNGUIDED, seed: 0, batch: 1, count: 2, folder } as const),
    ...(autoencoder && { autoencoder }),
    ...(latents !== undefined && { latents }),
  })
  expect((await readdir(folder)).includes('latents.npz')).toBe(isThere)
  expect(result.latents).toBe(isThere ? join(folder, 'latents.npz') : undefined)
})

test('a model of pixels is refused latents', async () => {
  const folder = join(await folderOfTest(), 'samples')
  await expect(sampleThree(folder, { latents: true })).rejects.toThrow('The model makes pixels and no latents')
  await expect(readdir(folder)).rejects.toThrow('ENOENT')
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
    mode: 'ode',
    steps: 1,
    path: 'linear',
    guidance: UNGUIDED,
    seed: 0,
    batch: 1,
    count: 2,
    classes: [1],
    folder,
    npz: join(folder, 'all.npz'),
    world,
  })
}

test('where the second of two arrays cannot be begun, nothing of the first is left', async () => {
  const folder = await folderOfTest()
  const inTheWay = temporaryPath('latents.npz')
  await mkdir(join(folder, inTheWay))
  await expect(sampleInto(folder, ALONE)).rejects.toThrow('latents.npz')
  expect(await readdir(folder)).toEqual([inTheWay])
})

test('a folder is refused to a second sampling while the first goes on, and given back at its end', async () => {
  const folder = await folderOfTest()
  let second: Promise<unknown> | undefined
  const onProgress = () => {
    second ??= sampleThree(folder, { seed: 1 }).catch((error: unknown) => error)
  }
  await sampleThree(folder, { onProgress })
  expect(await second).toEqual(
    new Error(
      `${folder} is in use by process ${process.pid}, which goes on; wait for its end, or choose another folder.`,
    ),
  )
  expect((await readSamplingRecord(folder))?.sampling.seed).toBe(0)
  expect((await readdir(folder)).sort()).toEqual(['000000.png', '000001.png', 'sampling.json'])
})

test('a process writes nothing before the leader has the folder', async () => {
  const folder = await folderOfTest()
  await using _ = await FolderInUse.take(folder)
  const ended = await together(2, (world) => sampleInto(folder, world))
  expect(ended.map(({ status }) => status)).toEqual(['rejected', 'rejected'])
  expect(await readdir(folder)).toEqual([IN_USE_FILE])
})

test('what more processes left of their arrays, when they were killed, goes', async () => {
  const folder = await folderOfTest()
  for (const part of ['latents.npz.part-2', 'all.npz.part-1', 'all.npz.part-1.png'])
    await writeFile(join(folder, part), 'half')
  await sampleInto(folder, ALONE)
  const arrays = (await readdir(folder)).filter((name) => name.includes('.npz'))
  expect(arrays.sort()).toEqual(['all.npz', 'all.npz.part-1.png', 'latents.npz'])
})

test('images that another has put there until the folder was taken are not taken for these', async () => {
  const folder = await folderOfTest()
  vi.spyOn(FolderInUse, 'take').mockImplementationOnce(async (...asked) => {
    await writeFile(join(folder, '000002.png'), '')
    return FolderInUse.take(...asked)
  })
  onTestFinished(() => void vi.restoreAllMocks())
  await expect(sampleThree(folder, {})).rejects.toThrow(`${folder} holds 000002.png, an image of another call`)
  expect(await readdir(folder)).toEqual(['000002.png'])
})

test.each(['000001.png', 'grid.png'])('a disk that is full at %s is said of it, and no half stays', async (name) => {
  const folder = await folderOfTest()
  const { create } = nodeFileSystem
  const full = failingFileSystem('ENOSPC', 40)
  vi.spyOn(nodeFileSystem, 'create').mockImplementation((path) => (path.includes(name) ? full.create : create)(path))
  onTestFinished(() => void vi.restoreAllMocks())
  const sampled = sampleThree(folder, { grid: join(folder, 'grid.png') })
  await expect(sampled).rejects.toThrow(FileAccessError)
  await expect(sampled).rejects.toThrow(`Cannot write ${join(folder, name)}: the disk is full; free some space`)
  const names = await readdir(folder)
  expect(names).toContain('000000.png')
  expect(names.filter((left) => left.includes(name) || left === IN_USE_FILE)).toEqual([])
})

test.each([0, 1])('where another process fails, process %d leaves the images alone', async (rank) => {
  const folder = await folderOfTest()
  const meet = () => Promise.reject(new Error('process 2 of 3 has ended.'))
  await expect(sampleInto(folder, { ...ALONE, rank, size: 2, meet })).rejects.toThrow('process 2 of 3 has ended.')
  expect((await readdir(folder)).sort()).toEqual([`00000${rank}.png`, 'unfinished'])
})

test.each<[wrong: Record<string, unknown>, sentence: string]>([
  [{ count: 0 }, 'count is 0: expected number to be >0.'],
  [{ count: -1 }, 'count is -1: expected number to be >0.'],
  [{ count: 2.5 }, 'count is 2.5: expected int.'],
  [{ count: Number.NaN }, 'count is NaN: expected number.'],
  [{ count: '2' }, 'count is "2": expected number.'],
  [{ folder: undefined }, 'folder is missing: expected string.'],
  [{ classes: [1.5] }, 'classes.0 is 1.5: expected int.'],
  [{ classes: 1 }, 'classes is 1: expected array.'],
  [{ seed: -1 }, 'seed is -1: expected number to be >=0.'],
  [{ seed: 2 ** 53 }, 'seed is 9007199254740992: expected int to be <=9007199254740991.'],
  [{ seed: 2 ** 64 }, 'seed is 18446744073709552000: expected int to be <=9007199254740991.'],
  [{ seed: undefined }, 'seed is missing: expected number.'],
  [{ batch: 0 }, 'batch is 0: expected number to be >0.'],
  [{ npz: true }, 'npz is true: expected string.'],
  [{ latents: 1 }, 'latents is 1: expected boolean.'],
  [{ gridCount: 0 }, 'gridCount is 0: expected number to be >0.'],
  [{ columns: 2.5 }, 'columns is 2.5: expected int.'],
  [{ autoencoder: 'taesd' }, 'autoencoder is "taesd": expected an autoencoder, as loadAutoencoder gives it.'],
  [
    { prompts: { captions: 'a cat' } },
    'prompts.captions is "a cat": expected array; prompts.encoder is missing: expected',
  ],
  [{ world: 2 }, 'world is 2: expected a World, as withProcesses gives it.'],
  [{ origin: { weight: 'ema' } }, 'there is no setting "weight" in origin; did you mean "weights"?'],
  [{ origin: { step: 0.5 } }, 'origin.step is 0.5: expected int.'],
  [{ onProgress: 1 }, 'onProgress is 1: expected a function.'],
  [{ onContinue: 1 }, 'onContinue is 1: expected a function.'],
  [{ onNotice: 1 }, 'onNotice is 1: expected a function.'],
  [{ gird: 'x' }, 'there is no setting "gird".'],
  [{ steps: 0 }, 'steps is 0: expected number to be >0.'],
  [{ signal: {} }, 'signal is {}: expected an AbortSignal.'],
])('refuses %j before it touches a folder', async (wrong, sentence) => {
  const folder = join(await folderOfTest(), 'samples')
  const sampled = sampleThree(folder, wrong)
  await expect(sampled).rejects.toThrow(ConfigurationError)
  await expect(sampled).rejects.toThrow(`the sampler's options: ${sentence}`)
  await expect(readdir(folder)).rejects.toThrow('ENOENT')
})

test.each<readonly [what: string, kind: 'SiT' | 'DiT', wrong: Partial<SampleToFolderOptions>, message: string]>([
  ['a mode of another kind of model', 'SiT', { mode: 'ddpm' }, 'A SiT is sampled in the modes ode and sde'],
  [
    'a null class that is none',
    'SiT',
    { guidance: { scale: 2, low: 0, high: 1, nullLabel: 11 } },
    'and there is no 11',
  ],
  ['more steps than the diffusion has', 'DiT', { mode: 'ddpm', steps: 1001 }, 'Of 1000 steps of the diffusion, 1001'],
])('%s is refused before what a folder holds is touched', async (_, kind, wrong, message) => {
  const folder = await folderOfTest()
  using model = modelOf(kind === 'DiT' ? { kind } : {})
  const sampling = { mode: kind === 'SiT' ? 'ode' : 'ddim', steps: 1, guidance: UNGUIDED } as const
  const options = { ...sampling, seed: 0, batch: 1, count: 1, folder } as SampleToFolderOptions
  await sampleToFolder(model, options)
  await expect(sampleToFolder(model, { ...options, ...wrong } as SampleToFolderOptions)).rejects.toThrow(message)
  expect((await readSamplingRecord(folder))?.sampling.mode).toBe(sampling.mode)
})
