/** Checkpoints that are asked for while a run goes on, and in its loop: whole, and of one step. */
import { readFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { expect, test } from 'vitest'
import type { Trainer } from '../../src/training/trainer.ts'
import { folderDigest } from '../data/folder-digest.ts'
import { tinyDataset } from '../data/tiny-dataset.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { align, BATCH, digestOf, modelOf, steps, tinyTrainer } from './tiny-trainer.ts'

const STEPS = 12

const stateOf = (checkpoint: string) =>
  JSON.parse(readFileSync(join(checkpoint, 'state.json'), 'utf8')) as { step: number; updates: number }

/** The files of the checkpoint that a run of its own makes which stops there. */
async function checkpointAt(data: string, step: number): Promise<Record<string, string>> {
  using model = modelOf()
  await using trainer = await tinyTrainer(model, data, { align })
  await steps(trainer, step)
  return folderDigest(await trainer.save(temporaryFolder()))
}

test('asked for in the loop and not waited for, a checkpoint is that of a run that stops at its step', async () => {
  const data = await tinyDataset(2 * BATCH)
  using model = modelOf()
  await using trainer = await tinyTrainer(model, data, { align })
  let asked: { step: number; saving: Promise<string> } | undefined
  for await (const { index } of trainer.run({ steps: STEPS })) {
    if (index === 3) asked = { step: trainer.step, saving: trainer.save(temporaryFolder()) }
  }
  const checkpoint = await asked!.saving
  expect(stateOf(checkpoint)).toMatchObject({ step: asked!.step, updates: asked!.step })
  expect(folderDigest(checkpoint)).toEqual(await checkpointAt(data, asked!.step))
})

test('asked for beside the loop, again and again, each is of one step', async () => {
  const data = await tinyDataset(2 * BATCH)
  using model = modelOf()
  await using trainer = await tinyTrainer(model, data, { align })
  const root = temporaryFolder()
  let isOver = false
  const saveMeanwhile = async () => {
    const checkpoints: string[] = []
    while (!isOver) {
      checkpoints.push(await trainer.save(join(root, String(checkpoints.length))))
      await setImmediate()
    }
    return checkpoints
  }
  const saving = saveMeanwhile()
  await steps(trainer, STEPS)
  isOver = true
  const checkpoints = await saving
  // A step is begun between two of them at least, and a step's turn is as good as a checkpoint's.
  expect(checkpoints.length).toBeGreaterThan(2)
  for (const checkpoint of checkpoints.slice(0, 3)) {
    const { step, updates } = stateOf(checkpoint)
    expect(updates).toBe(step)
    expect(Number(basename(checkpoint))).toBe(step)
    expect(folderDigest(checkpoint)).toEqual(await checkpointAt(data, step))
  }
})

test('two checkpoints of one step at once: the second takes the place of the first', async () => {
  using model = modelOf()
  await using trainer = await tinyTrainer(model, await tinyDataset(2 * BATCH), {})
  await steps(trainer, 2)
  const run = temporaryFolder()
  const [first, second] = await Promise.all([trainer.save(run), trainer.save(run)])
  expect(second).toBe(first)
  expect(folderDigest(first)).toEqual(folderDigest(await trainer.save(temporaryFolder())))
})

test('a trainer that is disposed of meanwhile still writes the checkpoint', async () => {
  const data = await tinyDataset(2 * BATCH)
  using model = modelOf()
  const trainer = await tinyTrainer(model, data, { align })
  await steps(trainer, 2)
  const saving = trainer.save(temporaryFolder())
  await trainer.dispose()
  expect(folderDigest(await saving)).toEqual(await checkpointAt(data, 2))
})

test.each([
  ['and waited for', true],
  ['and not waited for', false],
])(
  'a run that goes back to a checkpoint in its own loop, %s, comes to the bits of the unbroken one',
  async (_, isAwaited) => {
    const data = await tinyDataset(2 * BATCH)
    using whole = modelOf()
    await using unbroken = await tinyTrainer(whole, data, { align })
    await steps(unbroken, STEPS)
    using model = modelOf()
    await using trainer = await tinyTrainer(model, data, { align })
    await steps(trainer, 4)
    const checkpoint = await trainer.save(temporaryFolder())
    const indices: number[] = []
    let restoring: Promise<void> | undefined
    for await (const { index } of trainer.run({ steps: STEPS })) {
      indices.push(index)
      if (index !== 7 || restoring) continue
      restoring = trainer.restore(checkpoint)
      if (isAwaited) await restoring
    }
    await restoring
    // Two steps were under way, whose reports still come.
    expect(indices).toEqual([5, 6, 7, 8, 9, 5, 6, 7, 8, 9, 10, 11, 12])
    expect(await digestOf(trainer)).toBe(await digestOf(unbroken))
  },
)

test('while a checkpoint is being written, a step of samples that are given is refused', async () => {
  using model = modelOf()
  await using trainer = await tinyTrainer(model, await tinyDataset(2 * BATCH), {})
  await steps(trainer, 1)
  const saving = trainer.save(temporaryFolder())
  const samples = {
    step: 1,
    epoch: 0,
    indices: new Int32Array(BATCH),
    labels: new Int32Array(BATCH),
    features: [],
  }
  const latents = new Float32Array(BATCH * 8 * 64)
  expect(() => trainer.makeStep({ ...samples, latents })).toThrow(
    'makeStep: a checkpoint of this trainer is being written or read; wait for that.',
  )
  await saving
  await trainer.makeStep({ ...samples, latents })
  expect(trainer.step).toBe(2)
})

test.each<readonly [what: string, call: (trainer: Trainer) => Promise<unknown>]>([
  ['run', (trainer) => trainer.run({ steps: 9 }).next()],
  ['save', (trainer) => trainer.save(temporaryFolder())],
  ['restore', (trainer) => trainer.restore(temporaryFolder())],
  ['makeStep', async (trainer) => trainer.makeStep({} as never)],
])('%s says that a trainer has been disposed of', async (_, call) => {
  using model = modelOf()
  const trainer = await tinyTrainer(model, await tinyDataset(2 * BATCH), {})
  await trainer.dispose()
  await trainer.dispose()
  await expect(call(trainer)).rejects.toThrow('This trainer has been disposed of.')
})

test('disposed of in the loop, it reports the steps under way and says so', async () => {
  using model = modelOf()
  const trainer = await tinyTrainer(model, await tinyDataset(2 * BATCH), {})
  const indices: number[] = []
  const loop = async () => {
    for await (const { index } of trainer.run({ steps: STEPS })) {
      indices.push(index)
      if (index === 3) await trainer.dispose()
    }
  }
  await expect(loop()).rejects.toThrow('This trainer has been disposed of.')
  expect(indices).toEqual([1, 2, 3, 4, 5])
})
