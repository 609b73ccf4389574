import { expect, test } from 'vitest'
import { Dataset } from '../../src/data/dataset.ts'
import { SiT } from '../../src/models/sit.ts'
import { scope } from '../../src/tensor/scope.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { type LoadModelOptions, loadModel } from '../../src/training/load-model.ts'
import { Trainer } from '../../src/training/trainer.ts'
import { temporaryFolder } from '../data/temporary-folder.ts'
import { tinyDataset } from '../data/tiny-dataset.ts'
import { modelOf } from '../training/tiny-trainer.ts'

test('a checkpoint is loaded on the CPU where nothing else is said, and no weights but its own', async () => {
  using model = modelOf()
  await using trainer = new Trainer({ model, data: await Dataset.open(await tinyDataset()), batch: 2 })
  const folder = temporaryFolder()
  await trainer.save(folder)
  const loaded = await loadModel(folder)
  expect(loaded.model.device).toBe('cpu')
  loaded.model.dispose()
  const wrong = { weights: 'average' } as unknown as LoadModelOptions
  await expect(loadModel(folder, wrong)).rejects.toThrow('loadModel: weights is average; expected ema or model.')
})

test.each([0, 3, 1.5, Number.NaN, undefined])('a model of two blocks has no hidden states after block %s', (depth) => {
  using model = modelOf()
  const x = Tensor.zeros([1, 4, 8, 8], 'cpu')
  const labels = Tensor.from(Int32Array.of(0), [1], 'cpu')
  const states = () => scope(() => model.hiddenStates(x, Tensor.zeros([1], 'cpu'), labels, depth as number))
  expect(states).toThrow(`hiddenStates: there is no block ${depth}; the model has the blocks 1 to 2.`)
})

test.each([-1, 0.5, Number.NaN, 'seven', null])('there is no seed %s', (seed) => {
  const create = () => SiT.create({ depth: 1, hidden: 32, heads: 2, patch: 2 }, { seed: seed as number })
  expect(create).toThrow(`The seed is ${seed}; a whole number, not negative, was expected.`)
})
