/** REG: a class token that is denoised along. */
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import type { Encoder } from '../../src/alignment/encoder.ts'
import { Dataset } from '../../src/data/dataset.ts'
import { writeSafetensors } from '../../src/formats/safetensors-writer.ts'
import { DiT } from '../../src/models/dit.ts'
import { SiT } from '../../src/models/sit.ts'
import type { InterpolantPath } from '../../src/native.ts'
import { toFloat32 } from '../../src/tensor/host-tensor.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { forwardBackward } from '../../src/training/forward-backward.ts'
import { loadInitialWeights } from '../../src/training/initial-weights.ts'
import { SiTObjective } from '../../src/training/sit-objective.ts'
import { Trainer } from '../../src/training/trainer.ts'
import type { TrainerOptions } from '../../src/training/trainer-options.ts'
import { classTokenEncoder, constantEncoder } from '../data/constant-encoder.ts'
import { tinyDataset } from '../data/tiny-dataset.ts'
import { fromValues, map, type NdArray, random } from '../reference/array.ts'
import { repaLoss } from '../reference/sit.ts'
import { temporaryFolder } from '../temporary-folder.ts'
import { DEVICES } from '../tensor/devices.ts'

const [BATCH, SIDE, WIDTH] = [3, 6, 10]
const TOKENS = (SIDE / 2) ** 2
const SIZES = { depth: 2, hidden: 32, heads: 2, patch: 2 } as const
const OPTIONS = { inputSize: [SIDE, SIDE] as [number, number], channels: 2, classes: 4, projectorWidth: 24 }

/** Terms of each inner product of the network, forwards and back: what one element went through. */
const ROUNDINGS = 2 * (2 * 2 * 2 + SIZES.depth * (32 + 10 + 16 + 32 + 32 + 128) + 32 + 24 + 24 + WIDTH + 3 * 256)

const norm = (values: Iterable<number>) => Math.hypot(...values)

for (const { device, missing } of DEVICES) {
  describe.skipIf(missing)(`a pass on ${device}`, () => {
    test.each<InterpolantPath>(['linear', 'cosine'])(
      'on the %s path: losses and every gradient are those of the float64 reference',
      async (path) => {
        const reg = { alignWidths: [WIDTH], alignDepth: 1, classTokenWidth: WIDTH }
        using model = SiT.create(SIZES, { ...OPTIONS, ...reg, device })
        // The adaLN-zero start makes every block the identity: no gradient would reach them.
        model.arena.array('weights').write(Float32Array.from(random([model.arena.size], 11, 0.15).data))
        model.arena.allocateGradients()
        const parameters = new Map<string, NdArray>()
        for (const entry of model.entries) {
          using view = model.arena.view('weights', entry)
          parameters.set(entry.name, fromValues(entry.shape, toFloat32(await view.toHost())))
        }
        const shape = [BATCH, 2, SIDE, SIDE]
        const [images, noise] = [random(shape, 1), random(shape, 2)]
        const [features, tokenNoise] = [random([BATCH, 1 + TOKENS, WIDTH], 3, 2), random([BATCH, WIDTH], 4)]
        const clean = fromValues(
          [BATCH, WIDTH],
          Array.from({ length: BATCH }, (_, b) => [
            ...features.data.subarray(b * (1 + TOKENS) * WIDTH, (b * (1 + TOKENS) + 1) * WIDTH),
          ]).flat(),
        )
        const [t, labels] = [fromValues([BATCH], [0.125, 0.5, 0.875]), [0, 4, 2]]
        const { depth, heads, patch } = SIZES
        const expected = repaLoss(
          parameters,
          { patch, depth, heads, encoderDepth: 1, projectors: 1, qkNorm: false },
          { images, noise, t, labels, targets: [features], classToken: { noise: tokenNoise, weight: 0.3 } },
          path,
          0.5,
        )
        const made = [images, noise, t, features, clean, tokenNoise].map((a) =>
          Tensor.from(Float32Array.from(a.data), a.shape, device),
        )
        const [latents, drawn, times, target, token, noised] = made as [Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]
        const ids = Tensor.from(Int32Array.from(labels), [BATCH], device)
        const batch = { latents, noise: drawn, t: times, condition: ids, targets: [target] }
        const losses = forwardBackward(
          model,
          { ...batch, classToken: { clean: token, noise: noised } },
          { objective: new SiTObjective({ path }), alignWeight: 0.5, classTokenWeight: 0.3 },
        )
        const bound = ROUNDINGS * 2 ** -24
        for (const [name, loss] of [
          ['denoising', expected.denoising],
          ['classToken', expected.classToken!],
        ] as const) {
          const values = await losses[name]!.data()
          for (const [i, value] of values.entries())
            expect(Math.abs(value / loss.data[i]! - 1), `${name} of sample ${i}`).toBeLessThan(bound)
        }
        for (const entry of model.entries) {
          if (!entry.parameter.trainable) continue
          using view = model.arena.view('gradients', entry)
          const gradient = toFloat32(await view.toHost())
          const exact = expected.gradients.get(entry.name)!
          const error = map(exact, (value, i) => value - gradient[i]!)
          expect(norm(exact.data), entry.name).toBeGreaterThan(0)
          expect(norm(error.data) / norm(exact.data), entry.name).toBeLessThan(bound)
        }
        for (const tensor of [...made, ids, ...Object.values(losses)]) tensor?.dispose()
      },
    )
  })
}

describe('what does not go with a class token is refused before anything is trained', () => {
  const align = { encoder: classTokenEncoder, depth: 1 }
  const cached = { name: 'hog', width: 8, store: undefined as never }
  const CASES: readonly (readonly [Partial<TrainerOptions>, string])[] = [
    [{}, "it is an encoder's, and there is none."],
    [
      { align: { ...align, encoder: constantEncoder } },
      'the encoder constant has none behind a final norm; take DINOv2',
    ],
    [{ align: { ...align, encoder: [classTokenEncoder, constantEncoder] } }, 'the encoder constant has none'],
    [{ align: { ...align, encoder: cached } }, 'the cached features of hog have none; let the encoder run.'],
    [{ align: { ...align, projector: 'conv' } }, 'the projector conv reads the grid of tokens'],
    [{ align: { ...align, spatialNorm: 0.6 } }, 'spatialNorm is over the tokens of a grid'],
    [{ align, alignSchedule: { until: 3 } }, 'the encoder that it comes from would not run after the alignment'],
    [
      { align, selfAlign: { weight: 1, depth: 1, teacherDepth: 2, timeOffset: 0.2 } },
      'self-alignment shows the averaged model no class token',
    ],
  ]
  const size = { depth: 2, hidden: 16, heads: 2, patch: 2 }
  const sizes = { inputSize: [8, 8] as [number, number], classes: 10 }

  test.each(CASES)('%o', async (options, sentence) => {
    const data = await Dataset.open(await tinyDataset())
    using model = SiT.create(size, sizes)
    const { config } = model
    expect(() => new Trainer({ model, data, batch: 2, classToken: { weight: 0.03 }, ...options })).toThrow(
      `A class token cannot be denoised along (REG): ${sentence}`,
    )
    expect(model.config).toEqual(config)
  })

  test('a DiT', async () => {
    const data = await Dataset.open(await tinyDataset())
    using model = DiT.create(size, sizes)
    expect(() => new Trainer({ model, data, batch: 2, classToken: { weight: 0.03 }, align })).toThrow(
      'A class token cannot be denoised along (REG): its velocity is learnt by a SiT, and the model is a DiT.',
    )
  })
})

describe('a run begins from weights', () => {
  const model = (options: object = {}) =>
    SiT.create({ ...SIZES }, { ...OPTIONS, alignWidths: [WIDTH], alignDepth: 1, ...options })
  const reg = { classTokenWidth: WIDTH }

  async function fileOf(from: SiT): Promise<string> {
    const path = join(temporaryFolder(), 'weights.safetensors')
    const tensors = from.entries.map(async (entry) => {
      using view = from.arena.view('weights', entry)
      return { name: entry.name, ...(await view.toHost()) }
    })
    await writeSafetensors(path, await Promise.all(tensors))
    return path
  }

  test.each<readonly [string, object, object, readonly string[]]>([
    ["REPA's for REG", {}, reg, ["class token's layers"]],
    ["REG's for REPA", reg, {}, ["class token's layers"]],
    ["REG's for REG", reg, reg, []],
  ])('%s', async (_, from, to, told) => {
    using source = model({ ...from, seed: 1 })
    using target = model({ ...to, seed: 2 })
    const notices: string[] = []
    const onNotice = (sentence: string) => notices.push(sentence)
    await loadInitialWeights(target, await fileOf(source), { path: 'linear', onNotice })
    expect(
      notices.map((sentence) => /( has no|Left out of .*: its) (.*?)( of this model's shape|,)/.exec(sentence)![2]),
    ).toEqual(told)
    const valuesOf = async (of: SiT, name: string) => {
      const entry = of.entries.find((each) => each.name === name)!
      using view = of.arena.view('weights', entry)
      return [...toFloat32(await view.toHost())]
    }
    const name = 'blocks.1.attn.qkv.weight'
    expect(await valuesOf(target, name)).toEqual(await valuesOf(source, name))
  })
})

describe('a step', () => {
  const align: { encoder: Encoder; depth: number; weight: number } = {
    encoder: classTokenEncoder,
    depth: 1,
    weight: 0.5,
  }

  test('tells the loss of the class token, and what is trained has it in the sum', async () => {
    const data = await Dataset.open(await tinyDataset())
    using model = SiT.create({ depth: 2, hidden: 16, heads: 2, patch: 2 }, { inputSize: [8, 8], classes: 10 })
    await using trainer = new Trainer({ model, data, batch: 2, align, classToken: { weight: 0.03 } })
    expect(model.config.classTokenWidth).toBe(8)
    for await (const { loss, denoising, alignment, classToken } of trainer.run({ steps: 2 })) {
      // The model begins by predicting zeros: the error is the velocity's square, of a token of ones that N(0, 1) is taken off.
      expect(classToken).toBeGreaterThan(0.5)
      expect(loss).toBeCloseTo(denoising + 0.5 * alignment! + 0.03 * classToken!, 12)
    }
  })

  test('without one, a model that has the layers loses them', async () => {
    const data = await Dataset.open(await tinyDataset())
    using model = SiT.create(
      { depth: 2, hidden: 16, heads: 2, patch: 2 },
      { inputSize: [8, 8], classes: 10, alignWidths: [8], alignDepth: 1, classTokenWidth: 8 },
    )
    await using trainer = new Trainer({ model, data, batch: 2, align })
    expect(model.config.classTokenWidth).toBeUndefined()
    for await (const { classToken } of trainer.run({ steps: 1 })) expect(classToken).toBeUndefined()
  })
})
