import { describe, expect, test } from 'vitest'
import { cosineAlignmentLoss, mean, velocityLoss } from '../../../src/tensor/ops/loss.ts'
import { Tape } from '../../../src/tensor/tape.ts'
import type { Tensor } from '../../../src/tensor/tensor.ts'
import { fromValues, map, type NdArray, random, scaled, zeros } from '../../reference/array.ts'
import * as cosine from '../../reference/cosine-alignment-loss.ts'
import * as velocity from '../../reference/velocity-loss.ts'
import { DEVICES } from '../devices.ts'
import { expectRounded, largestOf, type Rounding } from '../rounding.ts'
import { ndArray, opCase, testOps, upload } from './op-case.ts'

/** A loss that seeds the tape with its own gradient. */
interface LossCase {
  readonly name: string
  readonly prediction: NdArray
  readonly target: NdArray
  readonly weight?: number
  readonly loss: (prediction: Tensor, target: Tensor, weight?: number) => Tensor
  readonly perSample: NdArray
  readonly gradient: NdArray
  readonly rounding: { readonly loss: Rounding; readonly gradient: Rounding }
}

function velocityCase(shape: readonly number[], weight?: number, like = random(shape, 2)): LossCase {
  const prediction = random(shape, 1, 2)
  const difference = 2 + largestOf(like)
  return {
    name: `velocityLoss of [${shape}]${weight === undefined ? '' : `, weight ${weight}`}`,
    prediction,
    target: like,
    weight,
    loss: velocityLoss,
    perSample: velocity.velocityLoss(prediction, like).perSample,
    gradient: velocity.velocityLossBackward(prediction, like, weight),
    // The difference is rounded before it is squared; sums run in double. The gradient's factor is rounded twice.
    rounding: {
      loss: { roundings: 4, scale: difference ** 2 },
      gradient: { roundings: 4, scale: (2 * difference * (weight ?? 1)) / prediction.data.length },
    },
  }
}

function cosineCase(
  shape: readonly [number, number, number],
  weight?: number,
  like: { zeroRow?: boolean } = {},
): LossCase {
  const [batch, tokens, width] = shape
  const prediction = random(shape, 1, 2)
  const target = random(shape, 2, 30)
  if (like.zeroRow) {
    prediction.data.fill(0, 0, width)
    target.data.fill(0, 2 * width, 3 * width)
  }
  const rows = batch * tokens
  const row = (a: NdArray, r: number) => ({ shape: [1, 1, width], data: a.data.subarray(r * width, (r + 1) * width) })
  const perSample = zeros([batch])
  for (let r = 0; r < rows; r++) {
    perSample.data[Math.floor(r / tokens)] += cosine.cosineAlignmentLoss(row(prediction, r), row(target, r)) / tokens
  }
  const gradient = cosine.cosineAlignmentLossBackward(prediction, target, weight)
  return {
    name: `cosineAlignmentLoss of [${shape}]${weight === undefined ? '' : `, weight ${weight}`}${like.zeroRow ? ', zeros' : ''}`,
    prediction,
    target,
    weight,
    loss: cosineAlignmentLoss,
    perSample,
    gradient,
    // Sums in double; a token's cosine is rounded. In a gradient two products and their factors, at the row's own magnitude.
    rounding: { loss: { roundings: 2, scale: 1 }, gradient: { roundings: 8, scale: 2 * largestOf(gradient) } },
  }
}

const CASES: readonly LossCase[] = [
  velocityCase([1]),
  velocityCase([1, 1, 1, 1]),
  velocityCase([3, 4, 3, 5]),
  velocityCase([2, 257, 33], 0.25),
  velocityCase([1, 70_001], 3),
  cosineCase([1, 1, 72]),
  cosineCase([2, 3, 5], 0.5),
  cosineCase([3, 257, 33]),
  cosineCase([1, 2, 1030], 2),
]

for (const { device, missing } of DEVICES) {
  describe.skipIf(missing)(`losses on ${device}`, () => {
    test.each(CASES)('$name', async (table) => {
      using prediction = upload(table.prediction, device)
      using target = upload(table.target, device)
      using tape = new Tape()
      tape.watch(prediction)
      using loss = tape.record(() => table.loss(prediction, target, table.weight))
      using gradients = { all: tape.backward(), [Symbol.dispose]: () => gradients.all.dispose() }
      expectRounded('loss', await ndArray(loss), table.perSample, table.rounding.loss)
      expectRounded('gradient', await ndArray(gradients.all.get(prediction)!), table.gradient, table.rounding.gradient)
      using plain = table.loss(prediction, target, table.weight)
      expect(await plain.data()).toEqual(await loss.data())
    })

    // torch's normalize takes a norm of at least 1e-12: a row of zeros has the cosine 0 and a gradient of target / 1e-12.
    test('a token of zeros', async () => {
      const table = cosineCase([1, 3, 8], 1, { zeroRow: true })
      using prediction = upload(table.prediction, device)
      using target = upload(table.target, device)
      using tape = new Tape()
      tape.watch(prediction)
      using loss = tape.record(() => cosineAlignmentLoss(prediction, target))
      const gradients = tape.backward()
      expectRounded('loss', await ndArray(loss), table.perSample, table.rounding.loss)
      const actual = await ndArray(gradients.get(prediction)!)
      const large = map(table.gradient, (value, i) => (i < 8 ? value : 0))
      expectRounded(
        'of zeros',
        map(actual, (value, i) => (i < 8 ? value : 0)),
        large,
        {
          roundings: 8,
          scale: largestOf(large),
        },
      )
      const rest = map(table.gradient, (value, i) => (i < 8 ? 0 : value))
      expectRounded(
        'of the rest',
        map(actual, (value, i) => (i < 8 ? 0 : value)),
        rest,
        {
          roundings: 8,
          scale: 2 * largestOf(rest),
        },
      )
      gradients.dispose()
    })

    test('two losses of one prediction add their gradients, and the scale of a loss is its weight', async () => {
      const shape = [2, 3, 8]
      const [p, a, b] = [random(shape, 1), random(shape, 2), random(shape, 3)]
      using prediction = upload(p, device)
      using first = upload(a, device)
      using second = upload(b, device)
      using tape = new Tape()
      tape.watch(prediction)
      tape
        .record(() => [velocityLoss(prediction, first, 0.5), velocityLoss(prediction, second, 2)])
        .forEach((loss) => {
          loss.dispose()
        })
      const gradients = tape.backward()
      const expected = velocity.velocityLossBackward(p, a, 0.5)
      velocity.velocityLossBackward(p, b, 2).data.forEach((value, i) => {
        expected.data[i] += value
      })
      expectRounded('gradient', await ndArray(gradients.get(prediction)!), expected, { roundings: 6, scale: 8 / 48 })
      gradients.dispose()
    })
  })
}

testOps(
  'mean',
  [[], [1], [257], [3, 70_000]].map((shape) => {
    const x = random(shape, 1)
    return opCase({
      name: `[${shape}]`,
      inputs: { x },
      op: (t) => mean(t.x),
      forward: () => scaled(fromValues([], [x.data.reduce((a, b) => a + b)]), 1 / x.data.length),
      rounding: () => ({ out: { roundings: 1, scale: Math.abs(x.data.reduce((a, b) => a + b)) / x.data.length } }),
    })
  }),
)
