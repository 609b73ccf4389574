/** Dynamic loss scaling through a trainer, its checkpoints and its log. In fp32, where a power of two changes no bit. */
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { Dataset } from '../../src/data/dataset.ts'
import { SiT } from '../../src/models/sit.ts'
import { MetricsLog } from '../../src/training/metrics.ts'
import { precisionPolicy } from '../../src/training/precision.ts'
import { Trainer } from '../../src/training/trainer.ts'
import type { TrainingStep } from '../../src/training/trainer-options.ts'
import { tinyModel } from '../conversion/tiny-checkpoint.ts'
import { constantEncoder } from '../data/constant-encoder.ts'
import { tinyDataset } from '../data/tiny-dataset.ts'
import { temporaryFolder } from '../temporary-folder.ts'

async function trainerOf(model: SiT, lossScale?: number): Promise<Trainer> {
  const data = await Dataset.open(await tinyDataset())
  return new Trainer({ model, data, align: { encoder: constantEncoder, depth: 1 }, batch: 2, lossScale })
}

async function steps(trainer: Trainer, count: number): Promise<TrainingStep[]> {
  const made: TrainingStep[] = []
  for await (const step of trainer.run({ steps: count })) made.push(step)
  return made
}

test('only fp16 scales its losses', () => {
  expect(precisionPolicy('fp16', 'cuda:0').lossScale).toBe(65536)
  expect(precisionPolicy('bf16', 'cuda:0').lossScale).toBe(0)
  expect(precisionPolicy('fp32', 'cpu').lossScale).toBe(0)
})

test('losses, gradients and weights are the same bits with a loss scale as without', async () => {
  const train = async (lossScale?: number) => {
    using model = SiT.fromConfig(tinyModel, 'cpu')
    await using trainer = await trainerOf(model, lossScale)
    const made = await steps(trainer, 3)
    expect(made.map((step) => step.lossScale)).toEqual(Array(3).fill(lossScale))
    const weights = await model.arena.array('weights').data()
    return { losses: made.map(({ loss, gradNorm }) => [loss, gradNorm]), weights }
  }
  expect(await train(65536)).toEqual(await train())
})

test('a checkpoint keeps the scale; one without it begins anew, and a run without scaling takes none', async () => {
  const run = temporaryFolder()
  using model = SiT.fromConfig(tinyModel, 'cpu')
  await using trainer = await trainerOf(model, 4096)
  await steps(trainer, 3)
  const saved = await trainer.save(run)
  const file = join(saved, 'state.json')
  const state = JSON.parse(await readFile(file, 'utf8'))
  expect(state.lossScaling).toEqual({ scale: 4096, steps: 3 })

  const restored = async (lossScale?: number) => {
    using other = SiT.fromConfig(tinyModel, 'cpu')
    await using resumed = await trainerOf(other, lossScale)
    await resumed.restore(saved)
    return (await resumed.optimizer.state()).lossScaling
  }
  expect(await restored(65536)).toEqual({ scale: 4096, steps: 3 })
  expect(await restored()).toBeUndefined()
  const { lossScaling: _, ...old } = state
  await writeFile(file, JSON.stringify(old))
  expect(await restored(65536)).toEqual({ scale: 65536, steps: 0 })
  await writeFile(file, JSON.stringify({ ...state, lossScaling: { scale: 0, steps: 3 } }))
  await expect(restored(65536)).rejects.toThrow('lossScaling.scale')
})

test('metrics tell of the scale where there is one', async () => {
  using model = SiT.fromConfig(tinyModel, 'cpu')
  const folder = temporaryFolder()
  const file = join(folder, 'metrics.jsonl')
  const log = await MetricsLog.open(folder, file, 0)
  for (const lossScale of [undefined, 4096]) {
    await using trainer = await trainerOf(model, lossScale)
    for (const step of await steps(trainer, 1)) await log.write(step)
  }
  await log.close()
  const lines = (await readFile(file, 'utf8')).trim().split('\n')
  expect(lines.map((line) => JSON.parse(line).lossScale)).toEqual([undefined, 4096])
  expect(lines[0]).not.toContain('lossScale')
})
