/** What sampling leaves behind where it fails. */
import { mkdir, mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { sampleToFolder } from '../../src/diffusion/sample-to-folder.ts'
import { ALONE, type World } from '../../src/distributed/world.ts'
import { modelOf } from '../training/tiny-trainer.ts'

async function folderOfTest(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'repa-sampled-'))
  onTestFinished(() => rm(folder, { recursive: true, force: true }))
  return folder
}

/** Two images of a model of latents, which go into an npz and into the folder's latents.npz. */
async function sampleInto(folder: string, world: World): Promise<void> {
  using model = modelOf()
  const guidance = { scale: 1, low: 0, high: 1 }
  await sampleToFolder(model, {
    ...{ mode: 'ode', steps: 1, path: 'linear', guidance, seed: 0, batch: 1, count: 2, classes: [1] },
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
