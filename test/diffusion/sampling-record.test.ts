import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { Guidance } from '../../src/diffusion/guidance.ts'
import { type SampleToFolderOptions, sampleToFolder } from '../../src/diffusion/sample-to-folder.ts'
import { readSamplingRecord } from '../../src/diffusion/sampling-record.ts'
import { ALONE } from '../../src/distributed/world.ts'
import { modelOf } from '../training/tiny-trainer.ts'

let directory: string
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'repa-sampling-record-'))
})
afterEach(() => rm(directory, { recursive: true }))

const AT = { seed: 3, batch: 2, count: 2 } as const
const guidance: Guidance = { scale: 1.8, low: 0, high: 0.7 }

/** Samples two images of a small model of latents. */
async function draw(options: object, kind?: 'DiT'): Promise<string> {
  using model = modelOf({ kind })
  const folder = join(directory, 'samples')
  await sampleToFolder(model, { ...AT, folder, mode: 'ode', steps: 2, ...options } as SampleToFolderOptions)
  return folder
}

const common = { seed: 3, classes: null, autoencoder: null }

test.each<[string, object, 'DiT' | undefined, expected: object]>([
  [
    'an ODE without guidance',
    {},
    undefined,
    { mode: 'ode', solver: 'euler', steps: 2, path: 'linear', guidanceScale: 1 },
  ],
  [
    'guidance that does nothing',
    { guidance: { ...guidance, scale: 1 } },
    undefined,
    { mode: 'ode', solver: 'euler', steps: 2, path: 'linear', guidanceScale: 1 },
  ],
  [
    'an SDE, guided',
    { mode: 'sde', path: 'cosine', guidance, classes: [2, 0] },
    undefined,
    {
      mode: 'sde',
      steps: 2,
      path: 'cosine',
      classes: [2, 0],
      guidanceScale: 1.8,
      guidanceLow: 0,
      guidanceHigh: 0.7,
      guidedChannels: 4,
    },
  ],
  [
    // It chooses its own steps.
    'dopri5',
    { solver: 'dopri5' },
    undefined,
    { mode: 'ode', solver: 'dopri5', path: 'linear', guidanceScale: 1 },
  ],
  [
    'steps that lie at high noise',
    { solver: 'heun', timeShift: 3 },
    undefined,
    { mode: 'ode', solver: 'heun', steps: 2, timeShift: 3, path: 'linear', guidanceScale: 1 },
  ],
  [
    'even steps, asked for',
    { timeShift: 1 },
    undefined,
    { mode: 'ode', solver: 'euler', steps: 2, path: 'linear', guidanceScale: 1 },
  ],
  ['DDPM', { mode: 'ddpm' }, 'DiT', { mode: 'ddpm', steps: 2, guidanceScale: 1 }],
  [
    'DDIM, guided',
    { mode: 'ddim', steps: 'ddim5', guidance },
    'DiT',
    {
      mode: 'ddim',
      steps: 'ddim5',
      eta: 0,
      guidanceScale: 1.8,
      guidanceLow: 0,
      guidanceHigh: 0.7,
      guidedChannels: 3,
    },
  ],
])('images say how they were made: %s', async (_, options, kind, expected) => {
  expect(await readSamplingRecord(await draw(options, kind))).toEqual({ sampling: { ...common, ...expected } })
})

test('an npz says the same, and both what the model is', async () => {
  const npz = join(directory, 'all', 'samples.npz')
  const origin = { checkpoint: 'runs/xl', step: 400_000, weights: 'ema', precision: 'tf32' } as const
  const folder = await draw({ npz, origin })
  const record = await readSamplingRecord(folder)
  expect(record).toMatchObject({
    checkpoint: 'runs/xl',
    step: 400_000,
    sampling: { mode: 'ode', weights: 'ema', precision: 'tf32' },
  })
  expect(await readSamplingRecord(npz)).toEqual(record)
  expect((await readdir(join(directory, 'all'))).sort()).toEqual(['samples.npz', 'samples.sampling.json'])
})

describe('where nothing is known', () => {
  test('of images that were not sampled here, and of those that are not there', async () => {
    await mkdir(join(directory, 'others'))
    await writeFile(join(directory, 'others.npz'), '')
    for (const images of ['others', 'others.npz', 'nowhere', 'nowhere.npz']) {
      expect(await readSamplingRecord(join(directory, images)), images).toBeUndefined()
    }
  })

  test('of images of which a later sampling has made some', async () => {
    const folder = await draw({})
    const broken = { ...ALONE, meet: () => Promise.reject(new Error('process 1 of 2 has ended.')) }
    await expect(draw({ seed: 4, world: broken })).rejects.toThrow('process 1 of 2 has ended.')
    expect(await readSamplingRecord(folder)).toBeUndefined()
  })
})

test('another file of that name is refused in a sentence', async () => {
  const file = join(directory, 'sampling.json')
  await writeFile(file, '{"steps":250}')
  await expect(readSamplingRecord(directory)).rejects.toThrow(
    `${file}, which repa sample writes beside its images: sampling is missing: expected object; there is no setting "steps"`,
  )
})
