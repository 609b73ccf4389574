import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test, vi } from 'vitest'
import { ALONE, type World } from '../../src/distributed/world.ts'
import { EventWriter } from '../../src/formats/tensorboard.ts'
import { train } from '../../src/training/run.ts'
import { saveOnFailure } from '../../src/training/save-on-failure.ts'
import { tinyDataset } from '../data/tiny-dataset.ts'
import { together } from '../distributed/together.ts'
import { temporaryFolder } from '../temporary-folder.ts'

test.each([
  {
    what: 'where the checkpoint is',
    save: async () => 'runs/a/checkpoints/0000005',
    notice: 'The steps until the failure are saved, runs/a/checkpoints/0000005; `resume` goes on from there.',
  },
  {
    what: 'why there is none',
    save: () => Promise.reject(new Error('ENOSPC: no space left on device')),
    notice: 'The steps since the last checkpoint could not be saved: ENOSPC: no space left on device',
  },
])('says $what', async ({ save, notice }) => {
  const notices: string[] = []
  await saveOnFailure(save, (sentence) => void notices.push(sentence))
  expect(notices).toEqual([notice])
})

const GRID_AT = 2

/** A run's folder, what it says of saving, and what begins or resumes it. */
async function tinyRun(settings: { readonly checkpointEvery: number; readonly steps: number }) {
  const [out, data] = [temporaryFolder(), await tinyDataset(4)]
  const notices: string[] = []
  const run = (world: World, resume = false) =>
    train({
      out,
      data,
      world,
      resume,
      device: 'cpu',
      configuration: {
        model: { kind: 'SiT', depth: 1, hidden: 32, heads: 2, patch: 4 },
        batch: 2,
        sampleEvery: GRID_AT,
        samples: { count: 1, steps: 1, guidanceScale: 1 },
        ...settings,
      },
      onNotice: (sentence) => world.rank === 0 && sentence.includes('saved') && notices.push(sentence),
    })
  const checkpoint = join(out, 'checkpoints/0000002')
  const saved = `The steps until the failure are saved, ${checkpoint}; \`resume\` goes on from there.`
  return { out, notices, run, saved }
}

describe.each([1, 2])('where a grid of samples cannot be written, of %d processes', (processes) => {
  test.each([
    ['between two checkpoints', { steps: 4, checkpointEvery: 4 }, true],
    ['after a checkpoint', { steps: 4, checkpointEvery: GRID_AT }, false],
    ['after the last step', { steps: GRID_AT, checkpointEvery: 4 }, false],
  ])('%s, no step is lost, and all end', async (_, settings, isSavedThen) => {
    const { out, notices, run, saved } = await tinyRun(settings)
    // Where their folder would be is a file.
    writeFileSync(join(out, 'samples'), '')
    const words = expect.stringContaining(join(out, 'samples'))
    const ended = await together(processes, (world) => run(world))
    expect(ended).toEqual(
      ended.map(() => ({ status: 'rejected', reason: expect.objectContaining({ message: words }) })),
    )
    expect(readdirSync(join(out, 'checkpoints'))).toEqual(['0000002'])
    expect(notices).toEqual(isSavedThen ? [saved] : [])

    rmSync(join(out, 'samples'))
    mkdirSync(join(out, 'samples'))
    const [resumed] = await together(processes, (world) => run(world, true))
    expect(resumed).toMatchObject({ status: 'fulfilled', value: { step: settings.steps } })
    expect(readdirSync(join(out, 'samples'))).toContain('0000002.png')
  })
})

test('where the log cannot be written, no step is lost', async () => {
  const { out, notices, run, saved } = await tinyRun({ steps: 4, checkpointEvery: 4 })
  using _spy = vi.spyOn(EventWriter.prototype, 'flush').mockRejectedValueOnce(new Error('EDQUOT: quota exceeded'))
  await expect(run(ALONE)).rejects.toThrow('EDQUOT: quota exceeded')
  expect(readdirSync(join(out, 'checkpoints'))).toEqual(['0000002'])
  expect(notices).toEqual([saved])
})
