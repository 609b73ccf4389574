/** What a program without types may give a pass, an objective, an optimizer and a model: nothing but the weights would show what is wrong. */
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { Dataset } from '../../src/data/dataset.ts'
import { SiT } from '../../src/models/sit.ts'
import { resolveDevice } from '../../src/tensor/device.ts'
import type { HostTensor } from '../../src/tensor/host-tensor.ts'
import { Tape } from '../../src/tensor/tape.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { forwardBackward } from '../../src/training/forward-backward.ts'
import { objectiveFor } from '../../src/training/objectives.ts'
import { AdamW } from '../../src/training/optimizer.ts'
import { train } from '../../src/training/run.ts'
import { Trainer } from '../../src/training/trainer.ts'
import { tinyDataset } from '../data/tiny-dataset.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { align, BATCH, modelOf, SIZE, tinyTrainer } from './tiny-trainer.ts'

type Wrong = readonly [wrong: Record<string, unknown>, sentence: string | RegExp]

function modelOfPass(): SiT {
  const model = SiT.create(SIZE, { inputSize: [8, 8], classes: 10 })
  model.arena.allocateGradients()
  return model
}

function pass(model: SiT, batch: Record<string, unknown>, options: Record<string, unknown>): void {
  using latents = Tensor.from(new Float32Array(2 * 4 * 64).fill(0.5), [2, 4, 8, 8], 'cpu')
  using t = Tensor.from(Float32Array.of(0.2, 0.8), [2], 'cpu')
  using condition = Tensor.from(Int32Array.of(1, 2), [2], 'cpu')
  using objective = objectiveFor(model)
  const whole = { latents, condition, t, noise: latents, targets: [], ...batch }
  forwardBackward(model, whole as never, { objective, alignWeight: 0.5, ...options } as never).denoising.dispose()
}

describe('forwardBackward', () => {
  test.each<Wrong>([
    [{ alignWeight: undefined }, 'the options of forwardBackward: alignWeight is missing: expected number.'],
    [{ alignWeight: Number.NaN }, 'alignWeight is NaN: expected number'],
    [{ accumulat: true }, 'there is no setting "accumulat"; did you mean "accumulate"?'],
    [{ disperse: { weight: 1, depth: 1, temperature: 0.5 } }, 'there is no setting "disperse"'],
    [{ dispersive: { weight: 1, depth: 9, temperature: 0.5 } }, 'dispersive.depth is 9, and the model has 2 blocks.'],
    [{ featureLoss: 'cosine' }, 'featureLoss is "cosine": expected a function'],
    [{ recompute: 'everything' }, 'recompute is "everything": expected one of "none"|"elementwise"'],
    [{ scaling: 128 }, "scaling is 128: expected an optimizer's state"],
    [{ objective: {} }, 'objective is {}: expected an objective, as objectiveFor gives it'],
  ])('with the option %j', (wrong, sentence) => {
    using model = modelOfPass()
    expect(() => pass(model, {}, wrong)).toThrow(sentence)
  })

  test.each<Wrong>([
    [{ negative: 1 }, 'there is no setting "negative"; did you mean "negatives"?'],
    [{ t: [0.5] }, 'the batch of forwardBackward: t is [0.5]: expected a Tensor'],
    [{ targets: undefined }, 'targets is missing'],
  ])('with the batch %j', (wrong, sentence) => {
    using model = modelOfPass()
    expect(() => pass(model, wrong, {})).toThrow(sentence)
  })

  test('with all that is right', () => {
    using model = modelOfPass()
    expect(() => pass(model, {}, { dispersive: { weight: 1, depth: 2, temperature: 0.5 } })).not.toThrow()
  })
})

test.each<Wrong>([
  [{ acumulate: true }, `the tape's options: there is no setting "acumulate"; did you mean "accumulate"?`],
  [{ recompute: 'all!' }, 'recompute is "all!"'],
])('a tape with %j', (wrong, sentence) => {
  expect(() => new Tape(wrong as never)).toThrow(sentence)
})

test.each<Wrong>([
  [{ pth: 'cosine' }, 'what objectiveFor is given: there is no setting "pth"; did you mean "path"?'],
  [{ path: 'cosin' }, 'path is "cosin"'],
  [{ velocityCosineweight: 1 }, 'did you mean "velocityCosineWeight"?'],
  [{ velocityCosineWeight: Number.NaN }, 'velocityCosineWeight is NaN'],
  [{ timeShift: -1 }, 'timeShift is -1'],
])('an objective with %j', (wrong, sentence) => {
  using model = modelOfPass()
  expect(() => objectiveFor(model, wrong as never)).toThrow(sentence)
})

test('an objective of no model', () => {
  expect(() => objectiveFor({ config: {} } as never)).toThrow('model is {"config":{}}: expected a SiT or a DiT')
})

describe('AdamW', () => {
  test('a factor of the learning rate that is a number is refused, and no weight changes', async () => {
    using model = modelOf()
    using optimizer = new AdamW(model.arena)
    const before = await model.arena.array('weights').data()
    expect(() => optimizer.step(1, { learningRateFactor: 0.5 } as never)).toThrow(
      'learningRateFactor is 0.5: expected a Tensor of one number',
    )
    expect(await model.arena.array('weights').data()).toEqual(before)
  })

  test.each<Wrong>([
    [{ updates: -1 }, 'the counters that AdamW goes on from: updates is -1'],
    [{ updates: 2 ** 63 }, 'updates is 9223372036854776000: expected int'],
    [{ skipped: Number.NaN }, 'skipped is NaN'],
    [{ lossscaling: { scale: 1, steps: 0 } }, 'did you mean "lossScaling"?'],
    [{ updates: undefined }, 'updates is missing'],
  ])('goes on from no %j', (wrong, sentence) => {
    using model = modelOf()
    using optimizer = new AdamW(model.arena)
    expect(() => optimizer.restore({ updates: 1, skipped: 0, ...wrong } as never)).toThrow(sentence)
  })

  test('goes on from what state gives', async () => {
    using model = modelOf()
    using optimizer = new AdamW(model.arena)
    optimizer.restore({ updates: 7, skipped: 1 })
    optimizer.restore(await optimizer.state())
    expect(await optimizer.state()).toMatchObject({ updates: 7, skipped: 1 })
  })
})

describe('a model', () => {
  test('without an EMA runs on none', () => {
    using model = modelOf()
    expect(() => model.arena.use('ema')).toThrow('The model has no EMA: a Trainer or an AdamW keeps one')
    expect(() => model.arena.use('emaa' as never)).toThrow('The parameters cannot be "emaa"; expected weights or ema.')
    expect(model.arena.role).toBe('weights')
  })

  test.each(['fp16', 'f64', 'i32'])('computes in no %s, and goes on in f32', (dtype) => {
    using model = modelOfPass()
    expect(() => model.computeIn(dtype as never)).toThrow(`"${dtype}": expected one of "f32"|"bf16"|"f16"`)
    expect(model.dtype).toBe('f32')
    expect(() => pass(model, {}, {})).not.toThrow()
  })

  test('of a configuration that does not go together is none', () => {
    using model = modelOfPass()
    expect(() => SiT.fromConfig({ ...model.config, heads: 3 }, 'cpu')).toThrow(/heads/)
    expect(() => SiT.fromConfig({ ...model.config, kind: 'DiT' } as never, 'cpu')).toThrow('kind is "DiT"')
    expect(() => SiT.fromConfig({} as never, 'cpu')).toThrow("the model's configuration: ")
  })

  test('loads a Map of tensors, and nothing that is none', async () => {
    using model = modelOfPass()
    using other = SiT.create(SIZE, { inputSize: [8, 8], classes: 10, seed: 1 })
    const state = new Map<string, HostTensor>()
    for (const entry of model.entries) {
      using view = model.arena.view('weights', entry)
      state.set(entry.name, await view.toHost())
    }
    await other.load(state)
    expect(await other.arena.array('weights').data()).toEqual(await model.arena.array('weights').data())
    await expect(other.load({} as never)).rejects.toThrow('load: expected tensors by name, in a Map')
    state.delete('pos_embed')
    await expect(other.load(state)).rejects.toThrow('The state dict does not fit the model: pos_embed')
  })

  test('a tensor of files has as many bytes as its shape says, and a dtype', () => {
    const data = new Uint8Array(16).subarray(0, 4)
    const made = (tensor: unknown) => Tensor.fromHostTensor(tensor as HostTensor, 'cpu')
    expect(() => made({ dtype: 'f32', shape: [3], data })).toThrow('holds 4 bytes, but f32 [3] takes 12 bytes.')
    expect(() => made({ dtype: 'u8', shape: [3], data })).toThrow('holds 4 bytes, but u8 [3] takes 3 bytes.')
    expect(() => made({ dtype: 'float', shape: [1], data })).toThrow('the unknown dtype float.')
    expect(() => made({ dtype: 'f32', shape: [1], data: [0] })).toThrow(
      'gives its bytes as Array; expected Uint8Array.',
    )
  })

  test('what a tensor says of its shape is not to be written into', () => {
    using tensor = Tensor.from(new Float32Array(6), [2, 3], 'cpu')
    expect(() => Object.assign(tensor.shape, [50])).toThrow(TypeError)
    expect(tensor.shape).toEqual([2, 3])
  })

  test.each(['mps', 'CPU', '', 'cuda:x'])('there is no device %j', (name) => {
    expect(() => resolveDevice(name)).toThrow(`There is no device "${name}"; expected cpu, cuda, cuda:N or auto.`)
  })
})

test('a trainer with an alignment to nothing, with a world that is none, and what it saves where', async () => {
  const root = await tinyDataset(2 * BATCH)
  const data = await Dataset.open(root)
  using model = modelOf()
  const options = { model, data, batch: BATCH }
  expect(() => new Trainer({ ...options, align: { ...align, encoder: [] } })).toThrow(
    'align.encoder is []: expected an',
  )
  expect(() => new Trainer({ ...options, world: {} } as never)).toThrow('world is {}: expected a World')
  await using trainer = await tinyTrainer(model, root, {})
  await expect(trainer.save('')).rejects.toThrow('the run of save: the value is "": expected a path')
  await expect(trainer.restore(undefined as never)).rejects.toThrow('the checkpoint of restore')
  await expect(trainer.save(temporaryFolder(), { resumeonly: true } as never)).rejects.toThrow('mean "resumeOnly"?')
})

test('a run waits for what onStep promises, and ends by its rejection, saved', async () => {
  const data = await tinyDataset(2 * BATCH)
  const out = join(temporaryFolder(), 'run')
  let waited = 0
  const training = train({
    out,
    data,
    device: 'cpu',
    configuration: { model: { kind: 'SiT', ...SIZE }, batch: BATCH, steps: 6 },
    onStep: async ({ index }) => {
      await new Promise((resolve) => setTimeout(resolve, 5))
      waited = index
      if (index === 3) throw new Error('mine')
    },
  })
  await expect(training).rejects.toThrow('mine')
  expect(waited).toBe(3)
  const { step } = await train({ out, data, device: 'cpu', configuration: {}, resume: true })
  expect(step).toBe(6)
})
