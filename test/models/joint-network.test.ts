/** MMDiT: two streams of tokens, text and image, that meet in every block's attention. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { SiT, type SiTOptions } from '../../src/models/sit.ts'
import type { ForwardOptions } from '../../src/models/transformer-network.ts'
import { type Device, memoryStats, resetPeakMemory } from '../../src/tensor/device.ts'
import type { ComputeDType } from '../../src/tensor/dtype.ts'
import type { Recomputation } from '../../src/tensor/recomputation.ts'
import { keep, scope } from '../../src/tensor/scope.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { inputsOfPass } from '../../src/training/passes.ts'
import { expectDerivatives, scatterWeights, weightsOf } from '../pretraining/directional-derivatives.ts'
import { compare, expectClose, fromValues, map, type NdArray, random, roundTo } from '../reference/array.ts'
import { type MmditOutput, mmditForward } from '../reference/mmdit.ts'
import { DEVICES } from '../tensor/devices.ts'
import { narrowTensor, narrowValues } from '../tensor/narrow.ts'
import { LAMBDA, largestOf } from '../tensor/rounding.ts'
import { expectSameBits } from '../tensor/same-bits.ts'
import { type JointBatch, jointLoss, jointStep } from './joint-step.ts'
import { uploaded } from './velocity-step.ts'

const [BATCH, SIDE, CHANNELS, TOKENS] = [3, 6, 2, 9]
const SIZES = { depth: 3, hidden: 16, heads: 2, patch: 2 } as const
const TEXT = { tokens: 5, width: 20 } as const
const OPTIONS = { inputSize: [SIDE, SIDE] as [number, number], channels: CHANNELS, classes: 0, projectorWidth: 24 }

interface Case {
  readonly name: string
  readonly sizes?: { readonly depth: number; readonly hidden: number; readonly heads: number }
  readonly options?: Partial<Omit<SiTOptions, 'kind'>>
}

const CASES: readonly Case[] = [
  { name: 'three blocks, heads of 8 columns' },
  {
    name: 'two blocks, heads of 24, a projector behind the first',
    sizes: { depth: 2, hidden: 48, heads: 2 },
    options: { alignWidths: [10], alignDepth: 1 },
  },
  {
    name: 'one block, of which the text is read and nothing else, and two projectors',
    sizes: { depth: 1, hidden: 32, heads: 4 },
    options: { alignWidths: [10, 6], alignDepth: 1 },
  },
  { name: 'one state of text, of an odd width', options: { text: { tokens: 1, width: 7 } } },
  { name: 'an MLP of another width', sizes: { depth: 2, hidden: 20, heads: 1 }, options: { mlpRatio: 1.25 } },
]

function modelOf({ sizes, options }: Omit<Case, 'name'>, device: Device): SiT {
  const model = SiT.create({ ...SIZES, ...sizes }, { ...OPTIONS, text: TEXT, ...options, device })
  // Larger than first values, so that text, time and every branch weigh in what is compared.
  scatterWeights(model, 0.15)
  return model
}

function batchOf({ config }: SiT): JointBatch {
  const { text, alignWidths } = config
  const shape = [BATCH, CHANNELS, SIDE, SIDE]
  return {
    x: random(shape, 1),
    t: fromValues([BATCH], [0.125, 0.5, 0.875]),
    text: random([BATCH, text!.tokens, text!.width], 2),
    target: random(shape, 3),
    features: alignWidths.map((width, k) => random([BATCH, TOKENS, width], 4 + k)),
  }
}

function reference(weights: ReadonlyMap<string, NdArray>, { config }: SiT, { x, t, text }: JointBatch): MmditOutput {
  const { patch, depth, heads, alignDepth, alignWidths } = config
  return mmditForward(weights, { patch, depth, heads, alignDepth, projectors: alignWidths.length }, x, t, text)
}

/** What the longest chain of sums adds up on its way to an output: in every block its four products and its attention. */
function termsOf({ config: { depth, hidden, heads, mlpRatio, text, projectorWidth } }: SiT): number {
  const block = hidden + hidden / heads + (text!.tokens + TOKENS) + hidden + hidden + hidden * mlpRatio
  const ends = CHANNELS * 4 + text!.width + 256 + hidden + hidden + hidden
  return depth * block + ends + 2 * projectorWidth + hidden
}

const UNIT = { f32: 2 ** -24, bf16: 2 ** -8, f16: 2 ** -11 } as const

/**
 * Roundings to a narrow dtype on that way: of a block twelve (what either half reads, the weights of four products, q, k and v, the
 * probabilities, the heads, both branches and the MLP's hidden layer); of the time's two layers and the modulation eight; of both ends
 * three, and of a projector six.
 */
const narrowRoundings = ({ config }: SiT) => 12 * config.depth + 8 + 3 + 6

/** Half an ulp of the largest number for every term of the longest chain, and in a narrow dtype one of that dtype's for each rounding to it. */
function tolerance(model: SiT, expected: NdArray, dtype: ComputeDType) {
  const narrow = dtype === 'f32' ? 0 : narrowRoundings(model) * UNIT[dtype]
  return { atol: (termsOf(model) * UNIT.f32 + narrow) * largestOf(expected), rtol: 0 }
}

function expectNear(
  model: SiT,
  made: { readonly prediction: NdArray; readonly projections: readonly NdArray[] },
  { velocity, projections }: MmditOutput,
  dtype: ComputeDType,
): void {
  expectClose('velocity', made.prediction, velocity, tolerance(model, velocity, dtype))
  expect(made.projections).toHaveLength(projections.length)
  for (const [k, z] of projections.entries()) {
    expectClose(`projection ${k}`, made.projections[k]!, z, tolerance(model, z, dtype))
  }
}

const norm = (values: Float32Array) => Math.hypot(...values)

/** Samples `begin` to `end`. */
function sliceOf({ shape, data }: NdArray, begin: number, end: number): NdArray {
  const [batch, ...rest] = shape
  const sample = data.length / batch!
  return fromValues([end - begin, ...rest], data.slice(begin * sample, end * sample))
}

/** Of a step, what no option asks for. */
const NOTHING_DRAWN = {
  stored: undefined,
  posteriorNoise: undefined,
  images: undefined,
  labels: undefined,
  teacherT: undefined,
  keptIds: undefined,
  keptPlaces: undefined,
  negatives: undefined,
  classTokenNoise: undefined,
}

const OTHERS: readonly { name: string; change?: (batch: JointBatch) => Partial<JointBatch>; heads?: number }[] = [
  { name: 'other text', change: ({ text }) => ({ text: random(text.shape, 20) }) },
  { name: 'text of half the size', change: ({ text }) => ({ text: map(text, (value) => value / 2) }) },
  { name: 'another time', change: () => ({ t: fromValues([BATCH], [0.25, 0.5, 0.875]) }) },
  { name: 'other heads', heads: 1 },
]
test.each(OTHERS)('the bound in f32 notices $name', async ({ change, heads = SIZES.heads }) => {
  using model = modelOf({}, 'cpu')
  const [weights, batch] = [await weightsOf(model), batchOf(model)]
  const { velocity } = reference(weights, model, batch)
  const { x, t, text } = { ...batch, ...change?.(batch) }
  const other = mmditForward(weights, { ...SIZES, heads, alignDepth: 1, projectors: 0 }, x, t, text).velocity
  expect(compare(other, velocity, tolerance(model, velocity, 'f32')).close).toBe(false)
})

for (const { device, missing } of DEVICES) {
  describe.skipIf(missing)(`on ${device}`, () => {
    let liveBytes: number
    beforeEach(() => {
      liveBytes = memoryStats(device).liveBytes
    })
    afterEach(() => {
      expect(memoryStats(device).liveBytes, 'tensors that were left').toBe(liveBytes)
    })

    const DTYPES: readonly ComputeDType[] = device === 'cpu' ? ['f32'] : ['f32', 'bf16', 'f16']

    async function predictionOf(model: SiT, { x, t, text }: Pick<JointBatch, 'x' | 't' | 'text'>): Promise<NdArray> {
      using prediction = scope(
        () => model.forward(uploaded(x, device), uploaded(t, device), uploaded(text, device)).prediction,
      )
      return narrowValues(prediction)
    }

    async function gradientsOf(model: SiT): Promise<Map<string, Float32Array>> {
      const found = new Map<string, Float32Array>()
      for (const entry of model.entries) {
        if (!entry.parameter.trainable) continue
        using view = model.arena.view('gradients', entry)
        found.set(entry.name, await view.data())
      }
      return found
    }

    test.each(CASES)('$name: prediction, projections and gradients of the float64 reference', async (one) => {
      using model = modelOf(one, device)
      const batch = batchOf(model)
      const made = await jointStep(model, batch)
      const exact = reference(await weightsOf(model), model, batch)
      expectNear(model, made, exact, 'f32')
      const loss = (weights: ReadonlyMap<string, NdArray>) => jointLoss(reference(weights, model, batch), batch)
      // The norms of small tokens are steep, and the differences' step is small for them.
      await expectDerivatives(model, loss, 2 * termsOf(model), 2e-5)
    })

    const NARROW = DTYPES.filter((dtype) => dtype !== 'f32')
    describe.skipIf(NARROW.length === 0).each(NARROW)('in %s', (dtype) => {
      test.each(CASES)('$name: prediction and projections of the reference, gradients of f32', async (one) => {
        using model = modelOf(one, device)
        const batch = batchOf(model)
        await jointStep(model, batch)
        const wanted = await gradientsOf(model)
        model.computeIn(dtype)
        const lossScale = 1024
        const made = await jointStep(model, batch, { lossScale })
        expectNear(model, made, reference(await weightsOf(model), model, batch), dtype)
        for (const [name, gradient] of await gradientsOf(model)) {
          const difference = gradient.map((value, i) => value / lossScale - wanted.get(name)![i]!)
          // Forwards and back.
          const bound = 2 * narrowRoundings(model) * UNIT[dtype] * norm(wanted.get(name)!)
          expect(norm(difference), name).toBeLessThan(bound)
        }
      })

      test('a text of that dtype is what the same numbers of f32 are', async () => {
        using model = modelOf({}, device)
        model.computeIn(dtype)
        const batch = batchOf(model)
        const text = map(batch.text, (value) => roundTo(dtype, value))
        const expected = await predictionOf(model, { ...batch, text })
        using prediction = scope(() => {
          const captions = narrowTensor(text, device, dtype)
          return model.forward(uploaded(batch.x, device), uploaded(batch.t, device), captions).prediction
        })
        expectSameBits('prediction', (await narrowValues(prediction)).data, expected.data)
      })
    })

    test('a sample is of its own text, and of no other’s', async () => {
      using model = modelOf({}, device)
      const batch = batchOf(model)
      const before = await predictionOf(model, batch)
      const sample = batch.text.data.length / BATCH
      const text = map(batch.text, (value, i) => (Math.floor(i / sample) === 1 ? -value : value))
      const after = await predictionOf(model, { ...batch, text })
      const ofSample = ({ data }: NdArray, i: number) =>
        data.slice((i * data.length) / BATCH, ((i + 1) * data.length) / BATCH)
      for (const i of [0, 2]) expectSameBits(`sample ${i}`, ofSample(after, i), ofSample(before, i))
      const { atol } = tolerance(model, before, 'f32')
      const furthest = Math.max(...ofSample(after, 1).map((value, i) => Math.abs(value - ofSample(before, 1)[i]!)))
      expect(furthest).toBeGreaterThan(atol)
    })

    test('every state of the text is read, and their order is not: they have no positions', async () => {
      using model = modelOf({}, device)
      const batch = batchOf(model)
      const before = await predictionOf(model, batch)
      const { tokens, width } = TEXT
      const bound = tolerance(model, before, 'f32')
      for (let token = 0; token < tokens; token++) {
        const text = map(batch.text, (value, i) => (Math.floor(i / width) % tokens === token ? -value : value))
        const after = await predictionOf(model, { ...batch, text })
        expect(compare(after, before, bound).close, `state ${token}`).toBe(false)
      }
      const text = map(batch.text, (_, i) => {
        const [sample, token] = [Math.floor(i / (tokens * width)), Math.floor(i / width) % tokens]
        return batch.text.data[(sample * tokens + ((token + 2) % tokens)) * width + (i % width)]!
      })
      expectClose('in another order', await predictionOf(model, { ...batch, text }), before, bound)
    })

    test('hidden states are those that are shown, of every block', async () => {
      using model = modelOf({}, device)
      const batch = batchOf(model)
      const { image, context, velocity } = reference(await weightsOf(model), model, batch)
      const [x, t, text] = [batch.x, batch.t, batch.text].map((array) => uploaded(array, device)) as [
        Tensor,
        Tensor,
        Tensor,
      ]
      const shown = new Map<string, Tensor>()
      const { prediction } = model.forward(x, t, text, {
        observe: (name, tensor) => shown.set(name, keep(tensor.alias())),
      })
      const [width, tokens] = [SIZES.hidden, TEXT.tokens]
      expect([...shown].map(([name, { shape }]) => `${name} ${shape}`)).toEqual([
        ...[`t_freq ${BATCH},256`, `t_embedder ${BATCH},${width}`, `modulation ${BATCH},34,${width}`],
        ...[`tokens ${BATCH},${TOKENS},${width}`, `context ${BATCH},${tokens},${width}`],
        ...[`blocks.0 ${BATCH},${TOKENS},${width}`, `context.0 ${BATCH},${tokens},${width}`],
        ...[`blocks.1 ${BATCH},${TOKENS},${width}`, `context.1 ${BATCH},${tokens},${width}`],
        ...[`blocks.2 ${BATCH},${TOKENS},${width}`, `final_layer ${BATCH},${TOKENS},${4 * CHANNELS}`],
      ])
      for (const [i, expected] of image.entries()) {
        const block = await narrowValues(shown.get(`blocks.${i}`)!)
        expectClose(`block ${i}`, block, expected, tolerance(model, expected, 'f32'))
        using hidden = model.hiddenStates(x, t, text, i + 1)
        expectSameBits(`hidden states ${i + 1}`, (await narrowValues(hidden)).data, block.data)
      }
      for (const [i, expected] of context.entries()) {
        const states = await narrowValues(shown.get(`context.${i}`)!)
        expectClose(`context ${i}`, states, expected, tolerance(model, expected, 'f32'))
      }
      expectClose('velocity', await narrowValues(prediction), velocity, tolerance(model, velocity, 'f32'))
      expect(() => model.hiddenStates(x, t, text, 4)).toThrow(
        'hiddenStates: there is no block 4; the model has the blocks 1 to 3.',
      )
      for (const tensor of [x, t, text, prediction, ...shown.values()]) tensor.dispose()
    })

    test.each(DTYPES)('what a tape computes again has the same bits, in less memory, in %s', async (dtype) => {
      const made = async (recompute: Recomputation) => {
        using model = modelOf({ options: { alignWidths: [10], alignDepth: 2 } }, device)
        model.computeIn(dtype)
        model.arena.allocateGradients()
        const batch = batchOf(model)
        resetPeakMemory(device)
        const step = await jointStep(model, batch, { recompute })
        return { bytes: memoryStats(device).peakBytes, step, gradients: await gradientsOf(model) }
      }
      const [whole, again] = [await made('none'), await made('elementwise')]
      expect(again.step).toEqual(whole.step)
      expect(again.gradients).toEqual(whole.gradients)
      expect(again.bytes).toBeLessThan(whole.bytes)
    })

    test('queries of the text in the last block, which nothing reads, have gradients of zero', async () => {
      using model = modelOf({}, device)
      await jointStep(model, batchOf(model))
      const gradients = await gradientsOf(model)
      const { hidden } = SIZES
      for (const [name, row] of [
        ['weight', hidden],
        ['bias', 1],
      ] as const) {
        const last = gradients.get(`joint_blocks.2.context_block.attn.qkv.${name}`)!
        expect(
          last.subarray(0, hidden * row).every((value) => value === 0),
          name,
        ).toBe(true)
        expect(
          last.subarray(hidden * row).every((value) => value !== 0),
          name,
        ).toBe(true)
        const before = gradients.get(`joint_blocks.1.context_block.attn.qkv.${name}`)!
        expect(
          before.every((value) => value !== 0),
          name,
        ).toBe(true)
      }
    })

    test('a step in passes adds up to the step of the batch', async () => {
      const gradients = async (passes: number) => {
        using model = modelOf({ options: { alignWidths: [10], alignDepth: 2 } }, device)
        const whole = batchOf(model)
        const names = ['x', 't', 'text', 'target'] as const
        for (let pass = 0; pass < passes; pass++) {
          const part = (array: NdArray) => sliceOf(array, (pass * BATCH) / passes, ((pass + 1) * BATCH) / passes)
          const batch = Object.fromEntries(names.map((name) => [name, part(whole[name])])) as Omit<
            JointBatch,
            'features'
          >
          await jointStep(model, { ...batch, features: whole.features.map(part) }, { accumulate: pass > 0 })
        }
        return { found: await gradientsOf(model), terms: termsOf(model) }
      }
      const [{ found: whole, terms }, { found: parts }] = [await gradients(1), await gradients(BATCH)]
      for (const [name, gradient] of whole) {
        const difference = gradient.map((value, i) => value - parts.get(name)![i]! / BATCH)
        // Both sides are off by as much.
        const bound = 2 * LAMBDA * Math.sqrt(2 * terms) * 2 ** -24 * norm(gradient)
        expect(norm(difference), name).toBeLessThan(bound)
      }
    })

    test('a pass has its samples of the text, and of the tokens that it comes from', () => {
      const ids = (width: number) =>
        Tensor.from(
          Int32Array.from({ length: 4 * width }, (_, i) => i),
          [4, width],
          device,
        )
      const inputs = scope(() => ({
        ...NOTHING_DRAWN,
        t: Tensor.zeros([4], device),
        noise: Tensor.zeros([4, 1], device),
        captionIds: ids(5),
        condition: Tensor.zeros([4, 5, 20], device),
      }))
      scope(() => {
        const { condition, captionIds, labels } = inputsOfPass(inputs, 1, 2)
        expect([condition.shape, captionIds!.shape, labels]).toEqual([[2, 5, 20], [2, 5], undefined])
      })
      for (const tensor of Object.values(inputs)) tensor?.dispose()
    })

    test('projectors that a model is given later leave what it predicts', async () => {
      using model = modelOf({}, device)
      const batch = batchOf(model)
      const before = await predictionOf(model, batch)
      model.align({ widths: [10, 6], depth: 2, seed: 1 })
      expect(model.entries.slice(-12).map(({ name }) => name)).toEqual(
        [0, 1].flatMap((k) => [0, 2, 4].flatMap((n) => [`projectors.${k}.${n}.weight`, `projectors.${k}.${n}.bias`])),
      )
      expectSameBits('prediction', (await predictionOf(model, batch)).data, before.data)
      expect((await jointStep(model, batchOf(model))).projections.map(({ shape }) => shape)).toEqual([
        [BATCH, TOKENS, 10],
        [BATCH, TOKENS, 6],
      ])
    })

    type Given = (tensors: { x: Tensor; t: Tensor }) => { readonly text?: Tensor; readonly options?: ForwardOptions }
    const REFUSED: readonly (readonly [string, Given, string])[] = [
      [
        'another number of states',
        () => ({ text: Tensor.zeros([BATCH, 6, 20], device) }),
        'The text is of shape [3,6,20]; the model takes 5 hidden states of 20 for each of 3 samples.',
      ],
      [
        'states of another width',
        () => ({ text: Tensor.zeros([BATCH, 5, 7], device) }),
        'The text is of shape [3,5,7]; the model takes 5 hidden states of 20 for each of 3 samples.',
      ],
      [
        'of fewer samples',
        () => ({ text: Tensor.zeros([1, 5, 20], device) }),
        'The text is of shape [1,5,20]; the model takes 5 hidden states of 20 for each of 3 samples.',
      ],
      [
        'labels',
        () => ({ text: Tensor.from(new Int32Array(BATCH), [BATCH], device) }),
        'The text is of shape [3]; the model takes 5 hidden states of 20 for each of 3 samples.',
      ],
      [
        'a class token',
        () => ({ options: { classToken: Tensor.zeros([BATCH, 8], device) } }),
        'A model of text denoises no class token (REG); give it none.',
      ],
      [
        'a route',
        ({ t }) => ({ options: { route: { from: 1, to: 2, kept: { ids: t, places: t } } } }),
        'A model of text has no route past its blocks (TREAD); give it none.',
      ],
      [
        'a watch over its attention',
        () => ({ options: { attention: { from: 1, to: 1, show: () => undefined } } }),
        "A model of text shows no block's attention (HASTE): it is of text and image at once.",
      ],
    ]
    test.each(REFUSED)('refused: %s', (_, given, message) => {
      using model = modelOf({}, device)
      const run = () =>
        scope(() => {
          const [x, t] = [Tensor.zeros([BATCH, CHANNELS, SIDE, SIDE], device), Tensor.zeros([BATCH], device)]
          const { text = Tensor.zeros([BATCH, 5, 20], device), options } = given({ x, t })
          model.forward(x, t, text, options)
        })
      expect(run).toThrow(message)
    })
  })
}
