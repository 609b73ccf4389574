import { join } from 'node:path'
import { expect, test } from 'vitest'
import { ConfigurationError } from '../../src/configuration/parse.ts'
import { convert } from '../../src/conversion/convert.ts'
import { Dataset } from '../../src/data/dataset.ts'
import { writeSafetensors } from '../../src/formats/safetensors-writer.ts'
import { SiT } from '../../src/models/sit.ts'
import { scope } from '../../src/tensor/scope.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { type LoadedModel, loadModel } from '../../src/training/load-model.ts'
import { train } from '../../src/training/run.ts'
import { Trainer } from '../../src/training/trainer.ts'
import { tinyDataset } from '../data/tiny-dataset.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { modelOf } from '../training/tiny-trainer.ts'
import { randomState } from './random-state.ts'

test('a checkpoint is loaded on the CPU where nothing else is said, and no weights but its own', async () => {
  using model = modelOf()
  await using trainer = new Trainer({ model, data: await Dataset.open(await tinyDataset()), batch: 2 })
  const folder = temporaryFolder()
  await trainer.save(folder)
  const loaded = await loadModel(folder)
  expect(loaded.model.device).toBe('cpu')
  loaded.model.dispose()
})

test('a torch checkpoint that was written here says what its run was, and a file of one set of weights no more', async () => {
  const folder = temporaryFolder()
  const [run, checkpoint, bare] = [join(folder, 'run'), join(folder, 'a.pt'), join(folder, 'a.safetensors')]
  const encoders = [{ name: 'hog' as const }]
  const configuration = {
    model: { kind: 'SiT' as const, depth: 2, hidden: 32, heads: 2, patch: 4 },
    batch: 2,
    steps: 1,
    alignDepth: 1,
    projectorWidth: 16,
    encoders,
    samples: { count: 1, steps: 1 },
  }
  const { checkpoint: saved } = await train({ data: await tinyDataset(), out: run, configuration, device: 'cpu' })
  const inFolder = await loadModel(run)
  await convert(saved, checkpoint)
  await convert(saved, bare, { weights: 'model' })
  const known = ({ model: { config }, source: _, ...told }: LoadedModel) => ({ config, ...told })
  expect(known(await loadModel(checkpoint))).toEqual(known(inFolder))
  expect(inFolder).toMatchObject({ step: 1, encoders, weights: 'ema' })
  expect(await loadModel(checkpoint, { weights: 'model' })).toMatchObject({ weights: 'model' })
  for (const weights of ['ema', 'model'] as const) {
    expect(await loadModel(bare, { weights })).toMatchObject({ weights: undefined, step: undefined, encoders: [] })
  }
})

test.each<[wrong: Record<string, unknown>, sentence: string]>([
  [{ weights: 'emma' }, 'weights is "emma": expected one of "ema"|"model"; did you mean "ema"?'],
  [{ wieghts: 'model' }, 'there is no setting "wieghts"; did you mean "weights"?'],
  [{ heads: 0 }, 'heads is 0: expected number to be >0.'],
  [{ kind: 'sit' }, 'kind is "sit": expected one of "SiT"|"DiT"; did you mean "SiT"?'],
  [{ convention: 'SiT' }, 'convention is "SiT": expected one of "repa"|"sit"; did you mean "sit"?'],
  [{ onNotice: 'log' }, 'onNotice is "log": expected a function.'],
])('loadModel with %j', async (wrong, sentence) => {
  const path = join(temporaryFolder(), 'weights.safetensors')
  await expect(loadModel(path, wrong)).rejects.toThrow(new ConfigurationError(`the model's options: ${sentence}`))
})

/** 8 x 4 tokens. */
const OBLONG = { inputSize: [16, 8] as [number, number], channels: 4 }
test.each([
  ['a SiT', { classes: 2 }],
  ['one with a class token', { classes: 2, classTokenWidth: 3 }],
  ['one of text', { classes: 0, text: { tokens: 3, width: 5 } }],
])('weights alone do not tell the rows and columns of inputs that are not square: %s', async (_, options) => {
  const state = randomState(SiT.create({ depth: 1, hidden: 32, heads: 2, patch: 2 }, { ...OBLONG, ...options }))
  const path = join(temporaryFolder(), 'weights.safetensors')
  await writeSafetensors(
    path,
    [...state].map(([name, tensor]) => ({ name, ...tensor })),
  )
  await expect(loadModel(path, { heads: 2 })).rejects.toThrow(
    `${path} has 32 positions, which are no square grid, and nothing tells its rows and columns; take a checkpoint of a run.`,
  )
})

test.each([0, 3, 1.5, Number.NaN, undefined])('a model of two blocks has no hidden states after block %s', (depth) => {
  using model = modelOf()
  const x = Tensor.zeros([1, 4, 8, 8], 'cpu')
  const labels = Tensor.from(Int32Array.of(0), [1], 'cpu')
  const states = () => scope(() => model.hiddenStates(x, Tensor.zeros([1], 'cpu'), labels, depth as number))
  expect(states).toThrow(`hiddenStates: there is no block ${depth}; the model has the blocks 1 to 2.`)
})
