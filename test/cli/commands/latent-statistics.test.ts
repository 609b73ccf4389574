/** From an autoencoder that comes without a scale to a data set of its latents, standardised. */
import { mkdirSync, writeFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { dispatch } from '../../../src/cli/dispatch.ts'
import { openPreparedImages, pixelBatches } from '../../../src/data/prepared-images.ts'
import { SafetensorsFile } from '../../../src/formats/safetensors.ts'
import { writeSafetensors } from '../../../src/formats/safetensors-writer.ts'
import { Autoencoder } from '../../../src/models/autoencoder.ts'
import { autoencoderDigest } from '../../../src/models/autoencoder-files.ts'
import { AutoencoderKL, autoencoderKLConfigSchema } from '../../../src/models/autoencoder-kl.ts'
import { loadAutoencoder } from '../../../src/models/load-autoencoder.ts'
import { toFloat32 } from '../../../src/tensor/host-tensor.ts'
import { writeNarrowTaesd } from '../../end-to-end/narrow-taesd.ts'
import { writeShapesZip } from '../../end-to-end/shapes-zip.ts'
import { randomState } from '../../models/random-state.ts'
import { temporaryFolder } from '../../temporary-folder.ts'
import { RecordingStream } from '../recording-stream.ts'

const SIZE = 16
const CHANNELS = 6

async function repa(...words: string[]) {
  const [stdout, stderr] = [new RecordingStream(), new RecordingStream()]
  const { signal } = new AbortController()
  const status = await dispatch(words, { stdout, stderr, env: {}, signal })
  return { status, stdout: stdout.text, stderr: stderr.text }
}

/** Twelve images, without latents. */
async function prepared(): Promise<string> {
  const folder = temporaryFolder()
  const data = join(folder, 'data')
  await writeShapesZip(join(folder, 'shapes.zip'), { perClass: 4, size: SIZE })
  const { status } = await repa('prepare', join(folder, 'shapes.zip'), '--out', data, '--size', String(SIZE))
  expect(status).toBe(0)
  return data
}

/** A folder with an autoencoder of random weights, and what else lies beside it. */
async function autoencoder(latentChannels: number, beside: Readonly<Record<string, string>> = {}): Promise<string> {
  const config = autoencoderKLConfigSchema.parse({ blockChannels: [32, 32], layersPerBlock: 1, latentChannels })
  const tensors = [...randomState(AutoencoderKL.fromConfig(config, 'cpu'))].map(([name, tensor]) => ({
    name,
    ...tensor,
  }))
  const folder = join(temporaryFolder(), 'my-vae')
  mkdirSync(folder)
  await writeSafetensors(join(folder, 'vae.safetensors'), tensors)
  for (const [name, text] of Object.entries(beside)) writeFileSync(join(folder, name), text)
  return folder
}

test('after it, latents of the images have a mean of 0 and a variance of 1 in every channel', async () => {
  const data = await prepared()
  const folder = await autoencoder(CHANNELS)
  const file = join(folder, 'latents_stats.safetensors')
  const { status, stdout, stderr } = await repa('latent-statistics', '--autoencoder', folder, '--data', data, '--json')
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
  const record = JSON.parse(stdout)
  expect(record).toMatchObject({ out: file, autoencoder: 'vae', images: 12 })
  await using stored = await SafetensorsFile.open(file)
  expect(stored.metadata).toEqual({ format: 'pt', autoencoder: 'vae', images: '12' })
  for (const name of ['mean', 'std']) {
    const tensor = await stored.read(name)
    expect(tensor.shape).toEqual([1, CHANNELS, 1, 1])
    expect([...toFloat32(tensor)]).toEqual(record[name])
  }
  using standardised = await loadAutoencoder(folder)
  expect([standardised.name, standardised.latentScale]).toEqual(['vae, standardised', 1])
  const images = await openPreparedImages(data)
  const sums = Array.from({ length: CHANNELS }, () => ({ mean: 0, square: 0, count: 0 }))
  for await (const batch of pixelBatches(images, [{ begin: 0, end: 12 }])) {
    for (const moments of await standardised.encode(batch.images, SIZE)) {
      const places = moments.length / (2 * CHANNELS)
      for (const [channel, sum] of sums.entries()) {
        for (let i = 0; i < places; i++) {
          const mean = moments[channel * places + i]!
          sum.mean += mean
          sum.square += mean ** 2 + moments[(CHANNELS + channel) * places + i]! ** 2
          sum.count++
        }
      }
    }
  }
  for (const [channel, { mean, square, count }] of sums.entries()) {
    // Rounded: the statistics and each standardised moment, by 2^-24 of themselves; a mean may be some deviations from 0.
    const far = Math.abs(record.mean[channel] / record.std[channel]) + 1
    expect(Math.abs(mean / count)).toBeLessThanOrEqual(far * 2 ** -22)
    expect(Math.abs(square / count - 1)).toBeLessThanOrEqual(far * 2 ** -21)
  }
  // And a data set takes them.
  const latents = await repa('prepare', data, '--out', data, '--size', String(SIZE), '--autoencoder', folder)
  expect(latents).toMatchObject({ status: 0 })
  const info = JSON.parse(await readFile(join(data, 'dataset-info.json'), 'utf8'))
  const weights = await autoencoderDigest(folder)
  expect(info.latents).toEqual({ encoder: 'vae, standardised', weights, shape: [2 * CHANNELS, 8, 8], scale: 1 })
})

test('--images and --seed say which images are looked at', async () => {
  const [data, folder] = [await prepared(), await autoencoder(CHANNELS)]
  const measured = async (...words: string[]) => {
    const out = join(temporaryFolder(), 'own.safetensors')
    const all = ['--autoencoder', folder, '--data', data, '--out', out, '--images', '5', '--json', ...words]
    const { status, stdout } = await repa('latent-statistics', ...all)
    expect(status).toBe(0)
    return JSON.parse(stdout)
  }
  const [some, others] = [await measured(), await measured('--seed', '1')]
  expect([some.images, others.images]).toEqual([5, 5])
  expect(others.mean).not.toEqual(some.mean)
})

describe('refused, and nothing is written', () => {
  test.each<readonly [string, () => Promise<string>, string]>([
    [
      'statistics that are there',
      () => autoencoder(CHANNELS, { 'latents_stats.pt': '' }),
      'latents_stats.pt has the statistics of these latents; remove it to measure them anew.',
    ],
    [
      'a factor that is stated',
      () => autoencoder(CHANNELS, { 'config.json': '{"scaling_factor": 0.5}' }),
      'have a scaling_factor already, 0.5; for statistics in its place let its config.json say 1.',
    ],
    [
      "Stable Diffusion's",
      () => autoencoder(4),
      "have a scaling_factor already, 0.18215, Stable Diffusion's, where no config.json says another;",
    ],
    [
      "TAESD's",
      async () => {
        const folder = temporaryFolder()
        await writeNarrowTaesd(folder)
        return join(folder, 'taesd_encoder.safetensors')
      },
      "is TAESD's: its latents are at a model's scale already, and are used as they are.",
    ],
    ['nothing', async () => join(temporaryFolder(), 'none'), 'There is no autoencoder '],
  ])('%s', async (_, make, sentence) => {
    const file = join(temporaryFolder(), 'out.safetensors')
    const { status, stderr } = await repa(
      ...['latent-statistics', '--autoencoder', await make(), '--data', await prepared(), '--out', file],
    )
    expect({ status, stderr }).toEqual({ status: 1, stderr: expect.stringContaining(sentence) })
    await expect(readFile(file)).rejects.toThrow('ENOENT')
  })

  test('a file of the name', async () => {
    const file = join(temporaryFolder(), 'out.safetensors')
    writeFileSync(file, 'mine')
    const folder = await autoencoder(CHANNELS)
    const { status, stderr } = await repa(
      ...['latent-statistics', '--autoencoder', folder, '--data', await prepared(), '--out', file],
    )
    expect({ status, stderr }).toEqual({
      status: 1,
      stderr: `repa latent-statistics: ${file} exists already; remove it, or choose another name.\n`,
    })
    expect(await readFile(file, 'utf8')).toBe('mine')
  })
})

describe('the folder of --out', () => {
  test('that is not there yet is made', async () => {
    const file = join(temporaryFolder(), 'a/b/out.safetensors')
    const words = ['--autoencoder', await autoencoder(CHANNELS), '--data', await prepared(), '--out', file, '--quiet']
    expect(await repa('latent-statistics', ...words)).toEqual({ status: 0, stdout: '', stderr: '' })
    await using stored = await SafetensorsFile.open(file)
    expect([...stored.tensors.keys()].sort()).toEqual(['mean', 'std'])
  })

  test('that cannot be is said before any image is encoded', async () => {
    const encode = vi.spyOn(Autoencoder.prototype, 'encode')
    onTestFinished(() => encode.mockRestore())
    const folder = join(temporaryFolder(), 'file')
    writeFileSync(folder, 'no folder')
    const words = ['--autoencoder', await autoencoder(CHANNELS), '--data', await prepared()]
    expect(await repa('latent-statistics', ...words, '--out', join(folder, 'out.safetensors'))).toEqual({
      status: 1,
      stdout: '',
      stderr: `repa latent-statistics: ${folder}: it exists already; remove it or choose another name.\n`,
    })
    expect(encode).toHaveBeenCalledTimes(0)
  })
})

test('a factor of 1, and of four channels too, is none', async () => {
  const folder = await autoencoder(4, { 'config.json': '{"scaling_factor": 1}' })
  expect(
    await repa('latent-statistics', '--autoencoder', folder, '--data', await prepared(), '--images', '5', '--quiet'),
  ).toEqual({
    status: 0,
    stdout: '',
    stderr: '',
  })
  using standardised = await loadAutoencoder(folder, { half: 'decoder' })
  expect(standardised.name).toBe('vae, standardised')
})
