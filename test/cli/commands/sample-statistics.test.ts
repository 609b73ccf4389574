/** What a run learnt of standardised latents is decoded by the statistics that it was made with, or it is said. */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { dispatch } from '../../../src/cli/dispatch.ts'
import type { LatentStatistics } from '../../../src/formats/latent-statistics.ts'
import { loadAutoencoder } from '../../../src/models/load-autoencoder.ts'
import type { TrainingOptions } from '../../../src/training/configuration.ts'
import { train } from '../../../src/training/run.ts'
import { temporaryFolder } from '../../temporary-folder.ts'
import { prepared } from '../../training/encoded-training.ts'
import { autoencoderWith, latentsWith, ONE, OTHER } from '../../training/standardised-latents.ts'
import { RecordingStream } from '../recording-stream.ts'

const MODEL = { kind: 'SiT', depth: 1, hidden: 16, heads: 2, patch: 1 } as const

/** Whether `repa sample` says that an autoencoder with these statistics has others than the run. */
async function isSaidOf(
  own: LatentStatistics | undefined,
  data: string,
  more: TrainingOptions = {},
  untold?: 'untold',
): Promise<boolean> {
  const folder = temporaryFolder()
  const out = join(folder, 'run')
  const configuration = { model: MODEL, batch: 2, steps: 1, samples: { count: 1, steps: 1 }, ...more }
  await train({ data, out, configuration, device: 'cpu' })
  if (untold) {
    // A run that began before its configuration told them.
    const file = join(out, 'config.json')
    const { training, ...rest } = JSON.parse(readFileSync(file, 'utf8'))
    const { latentsDigest, ...old } = training
    writeFileSync(file, JSON.stringify({ ...rest, training: { ...old, steps: 2 } }))
    await train({ data, out, configuration: { steps: 2 }, resume: true, device: 'cpu' })
  }
  const said = await saidOfSampling(out, '--autoencoder', await autoencoderWith(own))
  return said.includes('do not have the same statistics')
}

async function saidOfSampling(checkpoint: string, ...more: string[]): Promise<string> {
  const [stdout, stderr] = [new RecordingStream(), new RecordingStream()]
  const words = ['sample', '--checkpoint', checkpoint, '--out', join(temporaryFolder(), 'samples'), '--num', '1']
  const status = await dispatch([...words, '--steps', '1', ...more], {
    stdout,
    stderr,
    env: {},
    signal: new AbortController().signal,
  })
  expect(status).toBe(0)
  return stderr.text
}

test.each([
  ['the same', ONE, ONE, false],
  ['others', ONE, OTHER, true],
  ['none beside the autoencoder', ONE, undefined, true],
  ['none at all', undefined, undefined, false],
  ['none of the latents', undefined, ONE, true],
])('of latents without images: %s', async (_, ofData, own, isSaid) => {
  expect(await isSaidOf(own, await latentsWith(ofData))).toBe(isSaid)
})

const OF_AUTOENCODERS = [
  ['the same', ONE, ONE, false],
  ['others', ONE, OTHER, true],
  ['none beside the decoder', ONE, undefined, true],
  // Of latents that are not standardised nothing is told, as of those of older versions.
  ['none of the latents', undefined, ONE, false],
] as const

test.each(OF_AUTOENCODERS)('of prepared latents: %s', async (_, maker, own, isSaid) => {
  using autoencoder = await loadAutoencoder(await autoencoderWith(maker), { device: 'cpu' })
  expect(await isSaidOf(own, await prepared(8, autoencoder))).toBe(isSaid)
})

test.each(OF_AUTOENCODERS)('of latents that a run makes: %s', async (_, maker, own, isSaid) => {
  const more = { encodeLatents: true, autoencoder: await autoencoderWith(maker) }
  expect(await isSaidOf(own, await prepared(8), more)).toBe(isSaid)
})

test('a run on prepared latents that tells nothing goes on, and tells it from then on', async () => {
  using autoencoder = await loadAutoencoder(await autoencoderWith(ONE), { device: 'cpu' })
  expect(await isSaidOf(OTHER, await prepared(8, autoencoder), {}, 'untold')).toBe(true)
})

test.each([
  ['standardised', { mean: new Float32Array(3), std: new Float32Array(3).fill(2) }, true],
  ['as they are, which may be pixels', undefined, false],
])('latents of three channels, %s, are no pixels without their decoder', async (_, statistics, isSaid) => {
  const out = join(temporaryFolder(), 'run')
  const configuration = { model: MODEL, batch: 2, steps: 1, samples: { count: 1, steps: 1 } }
  await train({ data: await latentsWith(statistics, 3), out, configuration, device: 'cpu' })
  const said = await saidOfSampling(out)
  expect(said.includes('three channels are shown as if they were colours')).toBe(isSaid)
})
