import { describe, expect, test } from 'vitest'
import { cast } from '../../../src/tensor/ops/cast.ts'
import {
  combineSamples,
  type DenoisingStep,
  denoisingStep,
  guide,
  resizeChannels,
  scaleSamples,
} from '../../../src/tensor/ops/diffusion.ts'
import { Tensor } from '../../../src/tensor/tensor.ts'
import { map, type NdArray, random, zeros } from '../../reference/array.ts'
import { DEVICES } from '../devices.ts'
import { opCase, testOps } from './op-case.ts'

const SHAPES = [
  [1, 1],
  [3, 2, 5],
  [2, 4, 3, 5],
  [2, 3, 12_345],
]

/** Rows of the tables of coefficients, one for each sample, in no order. */
const rowsOf = (batch: number) => Int32Array.from({ length: batch }, (_, b) => (3 * b + 2) % 4)
const TABLE = random([4, 2], 9)

const tableTensors = (batch: number, { device }: Tensor) => ({
  rows: Tensor.from(rowsOf(batch), [batch], device),
  table: Tensor.from(TABLE.data, [4, 2], device),
})

/** coefficients[row, term] of the sample that element i is of. */
const coefficientAt = (shape: readonly number[], i: number, term: number) => {
  const size = shape.slice(1).reduce((a, b) => a * b, 1)
  return TABLE.data[2 * rowsOf(shape[0]!)[Math.floor(i / size)]! + term]!
}

testOps('combineSamples and scaleSamples', [
  ...SHAPES.map((shape) => {
    const [x, y] = [random(shape, 1), random(shape, 2)]
    return opCase({
      name: `combineSamples of [${shape}]`,
      inputs: { x, y },
      op: (t) => {
        const { rows, table } = tableTensors(shape[0]!, t.x)
        return combineSamples(t.x, t.y, rows, table)
      },
      forward: () => map(x, (value, i) => coefficientAt(shape, i, 0) * value + coefficientAt(shape, i, 1) * y.data[i]!),
      // Two products with rounded coefficients, and their sum.
      rounding: () => ({ out: { roundings: 3, scale: 2 } }),
    })
  }),
  ...SHAPES.map((shape) => {
    const x = random(shape, 1)
    const scaled = (of: NdArray) => map(of, (value, i) => coefficientAt(shape, i, 0) * value)
    return opCase({
      name: `scaleSamples of [${shape}]`,
      inputs: { x },
      op: (t) => {
        const { rows, table } = tableTensors(shape[0]!, t.x)
        return scaleSamples(t.x, rows, table)
      },
      forward: () => scaled(x),
      backward: (dOut) => ({ x: scaled(dOut) }),
      rounding: () => ({ out: { roundings: 2, scale: 1 }, x: { roundings: 2, scale: 1 } }),
    })
  }),
])

const EXACT = { roundings: 0, scale: 0 }

function resized(x: NdArray, channels: number): NdArray {
  const [batch, before, ...rest] = x.shape
  const size = rest.reduce((a, b) => a * b, 1)
  const out = zeros([batch!, channels, ...rest])
  return map(out, (_, i) => {
    const [sample, within] = [Math.floor(i / (channels * size)), i % (channels * size)]
    return within < before! * size ? x.data[sample * before! * size + within]! : 0
  })
}

testOps('resizeChannels', (draw) =>
  (
    [
      [[1, 1, 1], 3],
      [[2, 8, 3, 5], 4],
      [[3, 4, 7], 5],
      [[3, 257, 33], 1],
      [[2, 3, 5], 0],
      [[1, 2, 40_001], 1],
    ] as const
  ).map(([shape, channels]) => {
    const x = draw(shape, 1)
    return opCase({
      name: `[${shape}] to ${channels} channels`,
      inputs: { x },
      compute: ['x'],
      op: (t) => resizeChannels(t.x, channels),
      forward: () => resized(x, channels),
      backward: (dOut) => ({ x: resized(dOut, shape[1]) }),
      rounding: () => ({ out: EXACT, x: EXACT }),
    })
  }),
)

testOps(
  'guide',
  (
    [
      [[2, 1, 1], 1, 1.5],
      [[4, 8, 3, 5], 3, 4],
      [[6, 4, 7], 0, 4],
      // Pieces of 32,768: two that are guided whole, one in part, and one not.
      [[2, 3, 40_001], 2, 0.5],
    ] as const
  ).map(([shape, channels, scale]) => {
    const prediction = random(shape, 1)
    const [batch, all] = [shape[0] / 2, shape[1]]
    return opCase({
      name: `${channels} channels of [${shape}], by ${scale}`,
      inputs: { prediction },
      op: (t) => guide(t.prediction, scale, channels),
      forward: () => {
        const size = prediction.data.length / (2 * batch)
        return map(prediction, (value, i) => {
          const within = i % size
          if (within >= (size / all) * channels) return value
          const sample = Math.floor(i / size) % batch
          const c = prediction.data[sample * size + within]!
          const u = prediction.data[(batch + sample) * size + within]!
          return u + scale * (c - u)
        })
      },
      rounding: () => ({ out: { roundings: 3, scale: 1 + 2 * scale } }),
    })
  }),
)

const STEP: DenoisingStep = {
  x0FromX: 1.25,
  x0FromPrediction: -0.75,
  clip: false,
  meanFromX0: 0.6,
  meanFromX: 0.3,
  logVariances: [-4, -1],
}

function stepped(x: NdArray, prediction: NdArray, noise: NdArray | undefined, step: DenoisingStep): NdArray {
  const size = x.data.length / x.shape[0]!
  const hasV = prediction.data.length === 2 * x.data.length
  return map(x, (value, i) => {
    const at = Math.floor(i / size) * (hasV ? 2 : 1) * size + (i % size)
    let x0 = step.x0FromX * value + step.x0FromPrediction * prediction.data[at]!
    if (step.clip) x0 = Math.max(-1, Math.min(1, x0))
    const f = hasV ? (prediction.data[at + size]! + 1) / 2 : 0
    const [least, largest] = step.logVariances
    const sigma = Math.exp((f * largest + (1 - f) * least) / 2)
    return step.meanFromX0 * x0 + step.meanFromX * value + (noise ? sigma * noise.data[i]! : 0)
  })
}

/** The op computes in double: some twenty roundings of it are below a millionth of one of float32. */
const IN_DOUBLE = { roundings: 1, scale: 1e-6 }

testOps(
  'denoisingStep',
  SHAPES.flatMap((shape) => {
    const [x, noise] = [random(shape, 1, 2), random(shape, 3)]
    const predictions = {
      'with v': random([shape[0]!, 2 * shape[1]!, ...shape.slice(2)], 2, 2),
      'without v': random(shape, 2, 2),
    }
    const steps: readonly (readonly [keyof typeof predictions, boolean, DenoisingStep])[] = [
      ['with v', true, STEP],
      ['with v', true, { ...STEP, clip: true }],
      ['with v', false, STEP],
      ['without v', true, { ...STEP, logVariances: [-2, -2] }],
    ]
    return steps.map(([which, noisy, step]) => {
      const prediction = predictions[which]
      return opCase({
        name: `[${shape}] ${which}${noisy ? '' : ', no noise'}${step.clip ? ', clipped' : ''}`,
        inputs: { x, prediction, noise },
        op: (t) => denoisingStep(cast(t.x, 'f64'), t.prediction, noisy ? t.noise : undefined, step),
        forward: () => stepped(x, prediction, noisy ? noise : undefined, step),
        rounding: () => ({ out: IN_DOUBLE }),
      })
    })
  }),
)

for (const { device, missing } of DEVICES) {
  describe.skipIf(missing)(`ops of diffusion on ${device}`, () => {
    const tensors = (...shapes: (readonly number[])[]) => shapes.map((shape) => Tensor.zeros(shape, device))

    test('combineSamples of a row that is not in the table is NaN, in its sample alone', async () => {
      using x = Tensor.full([3, 2], 1, device)
      using rows = Tensor.from(new Int32Array([-1, 1, 4]), [3], device)
      using table = Tensor.from(new Float64Array(8).fill(0.5), [4, 2], device)
      using out = combineSamples(x, x, rows, table)
      expect(await out.data()).toEqual(new Float32Array([NaN, NaN, 1, 1, NaN, NaN]))
    })

    test('nothing comes of nothing', async () => {
      using rows = Tensor.from(new Int32Array(), [0], device)
      using table = Tensor.from(new Float64Array(2), [1, 2], device)
      const [x] = tensors([0, 3, 2]) as [Tensor]
      using double = cast(x, 'f64')
      const made = [
        combineSamples(x, x, rows, table),
        guide(x, 2, 1),
        resizeChannels(x, 5),
        denoisingStep(double, x, undefined, STEP),
      ]
      expect(made.map(({ shape }) => shape)).toEqual([
        [0, 3, 2],
        [0, 3, 2],
        [0, 5, 2],
        [0, 3, 2],
      ])
      for (const tensor of [x, ...made]) tensor.dispose()
    })

    test.each<[string, () => unknown, string]>([
      [
        'an odd batch',
        () => guide(Tensor.zeros([3, 4, 2], device), 2, 3),
        'guide: prediction has shape [3, 4, 2]; expected as many conditional samples as unconditional ones.',
      ],
      [
        'channels that are not there',
        () => guide(Tensor.zeros([2, 4, 2], device), 2, 5),
        'guide: 5 channels of a prediction of shape [2, 4, 2] cannot be guided.',
      ],
      [
        'a prediction of another shape',
        () =>
          denoisingStep(cast(Tensor.zeros([2, 4, 2], device), 'f64'), Tensor.zeros([2, 7, 2], device), undefined, STEP),
        'denoisingStep: prediction has shape [2, 7, 2]; expected [2, 8, 2].',
      ],
      [
        'two variances and no v',
        () => {
          const x = Tensor.zeros([2, 4, 2], device)
          return denoisingStep(cast(x, 'f64'), x, x, STEP)
        },
        'denoisingStep: a prediction without v cannot choose between two variances.',
      ],
    ])('%s is refused', (_, call, sentence) => {
      expect(call).toThrow(sentence)
    })
  })
}
