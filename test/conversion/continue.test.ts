import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { convert } from '../../src/conversion/convert.ts'
import { Dataset } from '../../src/data/dataset.ts'
import { transformerFromConfig } from '../../src/models/transformer-kinds.ts'
import { readCheckpointState } from '../../src/training/checkpoint.ts'
import { Trainer } from '../../src/training/trainer.ts'
import { constantEncoder as encoder } from '../data/constant-encoder.ts'
import { tinyDataset } from '../data/tiny-dataset.ts'
import { goldenFolder, goldenSuffix, haveGolden } from '../shared-folder.ts'
import { temporaryFolder } from '../temporary-folder.ts'

describe.skipIf(!haveGolden)(`training goes on from the reference's checkpoint${goldenSuffix}`, () => {
  test('Trainer restores the folder, makes a step and saves what converts back', async () => {
    const folder = temporaryFolder()
    const reference = join(folder, '0000003')
    await convert(join(goldenFolder, 'pt/repa-ckpt.pt'), reference, { heads: 2, alignDepth: 1 })
    const { model: config } = await readCheckpointState(reference)
    using model = transformerFromConfig(config, 'cpu')
    const data = await Dataset.open(await tinyDataset())
    await using trainer = new Trainer({ model, data, align: { encoder, depth: 1 }, batch: 2 })
    await trainer.restore(reference)
    expect(trainer.step).toBe(3)
    const steps = []
    for await (const step of trainer.run({ steps: 4 })) steps.push(step)
    expect(steps).toHaveLength(1)
    expect(steps[0]).toMatchObject({ index: 4, finite: true, skipped: 0 })
    expect(Number.isFinite(steps[0]!.loss)).toBe(true)
    const saved = await trainer.save(folder)
    expect(await readCheckpointState(saved)).toMatchObject({ step: 4, updates: 4, model: config })
    const { kind, tensors } = await convert(saved, join(folder, '0000004.pt'))
    expect({ kind, tensors }).toEqual({ kind: 'training checkpoint', tensors: 4 * 38 - 2 })
  })
})
