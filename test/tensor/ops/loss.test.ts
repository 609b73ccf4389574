import { describe, expect, test } from 'vitest'
import { cosineAlignmentLoss, mean, velocityLoss } from '../../../src/tensor/ops/loss.ts'
import { Tape } from '../../../src/tensor/tape.ts'
import { Tensor } from '../../../src/tensor/tensor.ts'
import { fromValues, map, type NdArray, random, roundTo, scaled, zeros } from '../../reference/array.ts'
import * as cosine from '../../reference/cosine-alignment-loss.ts'
import * as velocity from '../../reference/velocity-loss.ts'
import { DEVICES } from '../devices.ts'
import { narrowTensor, narrowValues } from '../narrow.ts'
import { expectRounded, largestOf } from '../rounding.ts'
import { type Draw, dtypesOf, expectLoss, type LossCase, runLoss, stateWith } from './loss-case.ts'
import { opCase, testOps } from './op-case.ts'

function velocityCase(draw: Draw, shape: readonly number[], weight?: number, like = random(shape, 2)): LossCase {
  const prediction = draw(shape, 1, 2)
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
  draw: Draw,
  shape: readonly [number, number, number],
  weight?: number,
  like: { zeroRow?: boolean; narrowTarget?: boolean } = {},
): LossCase {
  const [batch, tokens, width] = shape
  const prediction = draw(shape, 1, 2)
  const target = draw(shape, 2, 30)
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
  // A CPU sums a token in double. A GPU sums in float32: a lane's share of the row, its last vector of eight whole, and five more
  // over the lanes. The dot product errs by that once, the norms, which are square roots, by half of it each.
  const sums = 2 * (Math.ceil(width / 32) + 8 + 5)
  return {
    name: `cosineAlignmentLoss of [${shape}]${weight === undefined ? '' : `, weight ${weight}`}${like.zeroRow ? ', zeros' : ''}${like.narrowTarget ? ', of one dtype' : ''}`,
    prediction,
    target,
    narrowTarget: like.narrowTarget,
    weight,
    loss: cosineAlignmentLoss,
    perSample,
    gradient,
    // A token's cosine is a quotient of quotients. In a gradient two products and their factors, at the row's own magnitude.
    rounding: {
      loss: { roundings: sums + 5, scale: 1 },
      gradient: { roundings: sums + 8, scale: 2 * largestOf(gradient) },
    },
  }
}

const CASES = (draw: Draw): readonly LossCase[] => [
  velocityCase(draw, [1]),
  velocityCase(draw, [1, 1, 1, 1]),
  velocityCase(draw, [3, 4, 3, 5]),
  velocityCase(draw, [2, 4, 8, 8], 0.5),
  velocityCase(draw, [2, 257, 33], 0.25),
  velocityCase(draw, [1, 70_001], 3),
  cosineCase(draw, [1, 1, 72]),
  cosineCase(draw, [2, 3, 5], 0.5),
  cosineCase(draw, [3, 257, 33]),
  cosineCase(draw, [1, 2, 1030], 2),
  // Rows in registers, at both sizes and at their seams.
  cosineCase(draw, [2, 5, 384], 1, { narrowTarget: true }),
  cosineCase(draw, [1, 3, 768]),
  cosineCase(draw, [1, 2, 776]),
  cosineCase(draw, [1, 9, 1536], 1, { narrowTarget: true }),
  cosineCase(draw, [1, 1, 1544]),
]

for (const { device, missing } of DEVICES) {
  describe.skipIf(missing).each(dtypesOf(device))(`losses on ${device} in %s`, (dtype) => {
    const draw: Draw = (...options) => map(random(...options), (value) => roundTo(dtype, value))

    const run = (table: LossCase, scaling?: Tensor) => runLoss(table, device, dtype, scaling)

    test.each(CASES(draw))('$name', (table) => expectLoss(table, device, dtype))

    test.each(CASES(draw).slice(-4))(
      '$name: without a loss scale, or with 0, the gradient is as with 1',
      async (table) => {
        using one = stateWith(1, device)
        using none = stateWith(0, device)
        const expected = await run(table)
        expect(await run(table, one)).toEqual(expected)
        expect(await run(table, none)).toEqual(expected)
      },
    )

    test('what is not aligned gives the same numbers', async () => {
      for (const table of [velocityCase(draw, [3, 4, 8]), cosineCase(draw, [2, 3, 16])]) {
        const shifted = async (offset: number) => {
          const shape = table.prediction.shape
          const at = (a: NdArray) => fromValues([a.data.length + offset], [...new Array(offset).fill(0), ...a.data])
          using wholePrediction = narrowTensor(at(table.prediction), device, dtype)
          using wholeTarget = narrowTensor(at(table.target), device, 'f32')
          using prediction = wholePrediction.view(offset, shape)
          using target = wholeTarget.view(offset, shape)
          using tape = new Tape()
          tape.watch(prediction)
          using loss = tape.record(() => table.loss(prediction, target))
          const gradients = tape.backward()
          const values = [fromValues(loss.shape, await loss.data()), await narrowValues(gradients.get(prediction)!)]
          gradients.dispose()
          return values
        }
        const [[loss, gradient], [alignedLoss, alignedGradient]] = [await shifted(1), await shifted(0)]
        // The order of a sum's terms differs; the bounds hold for any.
        expectRounded('loss', loss, alignedLoss, { ...table.rounding.loss, scale: 2 * table.rounding.loss.scale })
        const bound = { ...table.rounding.gradient, scale: 2 * table.rounding.gradient.scale }
        expectRounded('gradient', gradient, alignedGradient, bound, dtype, dtype)
      }
    })

    // torch's normalize takes a norm of at least 1e-12: a row of zeros has the cosine 0 and a gradient of target / 1e-12,
    // which float16 cannot hold.
    const holding = dtype === 'f16' ? [] : [dtype]
    test.each(holding)('a token of zeros in %s', async () => {
      const table = cosineCase(draw, [1, 3, 8], 1, { zeroRow: true })
      const { loss, gradient: actual } = await run(table)
      expectRounded('loss', fromValues([1], loss), table.perSample, table.rounding.loss)
      const part = (a: NdArray, isFirst: boolean) => map(a, (value, i) => (i < 8 === isFirst ? value : 0))
      for (const isFirst of [true, false]) {
        const expected = part(table.gradient, isFirst)
        const bound = { ...table.rounding.gradient, scale: 2 * largestOf(expected) }
        expectRounded(isFirst ? 'of zeros' : 'of the rest', part(actual, isFirst), expected, bound, dtype, dtype)
      }
    })

    test('two losses of one prediction add their gradients, and the scale of a loss is its weight', async () => {
      const shape = [2, 3, 8]
      const [p, a, b] = [draw(shape, 1), random(shape, 2), random(shape, 3)]
      using prediction = narrowTensor(p, device, dtype)
      using first = narrowTensor(a, device, 'f32')
      using second = narrowTensor(b, device, 'f32')
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
      // Each of the two is rounded to the dtype of computation before they are added.
      const bound = { roundings: 6, scale: 8 / 48, computeRoundings: 1 }
      expectRounded('gradient', await narrowValues(gradients.get(prediction)!), expected, bound, dtype, dtype)
      gradients.dispose()
    })

    test('refuses a target of yet another dtype, and what is no state', () => {
      using prediction = narrowTensor(random([1, 2, 3], 1), device, dtype)
      using bytes = Tensor.from(new Uint8Array(24), [24], device)
      using state = Tensor.from(new Uint8Array(40), [40], device)
      const three = bytes.reshape([1, 2, 12]).view(0, [1, 2, 3])
      for (const loss of [velocityLoss, cosineAlignmentLoss]) {
        expect(() => loss(prediction, three)).toThrow('target is u8; expected f32.')
        using target = narrowTensor(random([1, 2, 3], 2), device, 'f32')
        expect(() => loss(prediction, target, 1, state)).toThrow('state has shape [40]; expected [56].')
      }
      three.dispose()
    })

    test('two runs give the same bits', async () => {
      for (const table of [velocityCase(draw, [2, 257, 33]), cosineCase(draw, [3, 5, 768])]) {
        expect(await run(table)).toEqual(await run(table))
      }
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
