/** What a run learnt of standardised latents is decoded by the statistics that it was made with, or it is said. */
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { dispatch } from '../../../src/cli/dispatch.ts'
import { train } from '../../../src/training/run.ts'
import { temporaryFolder } from '../../data/temporary-folder.ts'
import { autoencoderWith, latentsWith, ONE, OTHER } from '../../training/standardised-latents.ts'
import { RecordingStream } from '../recording-stream.ts'

const MODEL = { kind: 'SiT', depth: 1, hidden: 16, heads: 2, patch: 1 } as const

test.each([
  ['the same', ONE, ONE, false],
  ['others', ONE, OTHER, true],
  ['none beside the autoencoder', ONE, undefined, true],
  ['none at all', undefined, undefined, false],
  ['none of the latents', undefined, ONE, true],
])('%s', async (_, ofData, own, isSaid) => {
  const folder = temporaryFolder()
  const out = join(folder, 'run')
  const configuration = { model: MODEL, batch: 2, steps: 1, samples: { count: 1, steps: 1 } }
  await train({ data: await latentsWith(ofData), out, configuration, device: 'cpu' })
  const [stdout, stderr] = [new RecordingStream(), new RecordingStream()]
  const words = ['sample', '--checkpoint', out, '--out', join(folder, 'samples'), '--num', '1', '--steps', '1']
  const status = await dispatch([...words, '--autoencoder', await autoencoderWith(own)], {
    stdout,
    stderr,
    env: {},
    signal: new AbortController().signal,
  })
  expect(status).toBe(0)
  expect(stderr.text.includes('do not have the same statistics')).toBe(isSaid)
})
