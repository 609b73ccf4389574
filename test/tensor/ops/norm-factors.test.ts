import { describe, expect, test } from 'vitest'
import { type Norm, native } from '../../../src/native.ts'
import { qkNorm } from '../../../src/tensor/ops/attention.ts'
import { normModulate } from '../../../src/tensor/ops/layer-norm.ts'
import { normFactors } from '../../../src/tensor/ops/norm-factors.ts'
import { scope } from '../../../src/tensor/scope.ts'
import { Tensor } from '../../../src/tensor/tensor.ts'
import { random } from '../../reference/array.ts'
import * as reference from '../../reference/rms-norm.ts'
import { DEVICES, isShim } from '../devices.ts'
import { LAMBDA, largestOf } from '../rounding.ts'
import { type OpCase, opCase, testOps, upload } from './op-case.ts'

function factorsCase(batch: number, norms: number, width: number, chunks = 3 * norms - 1): OpCase {
  const modulation = random([batch, chunks, width], 1)
  const weights = random([norms, width], 2, 2)
  return opCase({
    name: `${norms} norms of width ${width}, ${chunks} chunks, ${batch} samples`,
    inputs: { modulation, weights },
    op: (t) => normFactors(t.modulation, t.weights),
    forward: () => reference.normFactors(modulation, weights),
    backward: (dOut) => {
      const { dModulation, dWeights } = reference.normFactorsBackward(dOut, modulation, weights)
      return { modulation: dModulation, weights: dWeights }
    },
    rounding: (dOut) => {
      const [factor, d] = [1 + largestOf(modulation), largestOf(dOut)]
      return {
        out: { roundings: 2, scale: largestOf(weights) * factor },
        modulation: { roundings: 1, scale: largestOf(weights) * d },
        weights: { roundings: batch + 2, scale: Math.sqrt(batch) * d * factor },
      }
    },
  })
}

// Widths of whole accesses, of several strips of a GPU's columns, and of single elements.
testOps('normFactors', [
  factorsCase(1, 1, 4),
  factorsCase(3, 2, 33),
  factorsCase(2, 5, 1152),
  factorsCase(70, 3, 72),
  factorsCase(0, 2, 8),
  // Samples in parts, of which the last is not as large as the others.
  factorsCase(200, 2, 36),
  factorsCase(331, 1, 33),
  // A gate behind the last norm.
  factorsCase(3, 2, 36, 6),
])

for (const { device, missing } of DEVICES) {
  test.skipIf(missing)(
    `a gradient that does not cancel, summed over as many samples as a DDT head has tokens, on ${device}`,
    async () => {
      const [batch, norms, width, chunks] = [isShim ? 4096 : 65_536, 2, 8, 5]
      const modulation = random([batch, chunks, width], 1)
      const gradient = random([batch, chunks, width], 2)
      for (let i = 0; i < gradient.data.length; i++) gradient.data[i] = Math.fround(1 + gradient.data[i]! / 4)
      const weights = random([norms, width], 3)
      const exact = reference.normFactorsBackward(gradient, modulation, weights).dWeights
      using dWeights = Tensor.zeros([norms, width], device)
      using d = upload(gradient, device)
      using m = upload(modulation, device)
      using w = upload(weights, device)
      native().normFactorsBackward(d.handle, m.handle, w.handle, dWeights.handle, false)
      const sums = await dWeights.data()
      // No term is negative. Parts of at most 512 of them are added in float: rounding k of them moves the sum by half a unit of k terms, by chance
      // up or down (rounding.ts), together 512 / √3 of a part's √512 terms; then the parts in double, and what comes out is rounded once.
      const roundings = 1 + (LAMBDA * 512) / Math.sqrt(3 * batch)
      exact.data.forEach((sum, i) => {
        expect(Math.abs(sums[i]! - sum), `column ${i}`).toBeLessThan(roundings * 2 ** -24 * sum)
      })
    },
  )
}

test('a modulation of another number of norms is refused', () => {
  using modulation = Tensor.zeros([2, 7, 4], 'cpu')
  using weights = Tensor.zeros([2, 4], 'cpu')
  expect(() => normFactors(modulation, weights)).toThrow(
    'normFactors: modulation has shape [2, 7, 4], which does not fit weights [2, 4]: expected [B, 3 N - 1, D], or with a gate behind the last norm [B, 3 N, D].',
  )
})

test('heads of no columns are refused', () => {
  using none = Tensor.zeros([0], 'cpu')
  using qkv = Tensor.zeros([1, 2, 0], 'cpu')
  const weights = { qWeight: none, qBias: none, kWeight: none, kBias: none }
  expect(() => qkNorm(qkv, weights, 2)).toThrow('qkNorm: head_dim is 0; expected at least 1.')
})

describe('which norm', () => {
  const t = (...shape: number[]) => Tensor.zeros(shape, 'cpu')
  const biased = () => ({ qWeight: t(2), qBias: t(2), kWeight: t(2), kBias: t(2) })
  test.each([
    [() => qkNorm(t(1, 2, 12), biased(), 2, { norm: 'rmsNorm' }), 'qkNorm: qBias is given; an rmsNorm has no bias.'],
    [
      () => qkNorm(t(1, 2, 12), { qWeight: t(2), kWeight: t(2) }, 2),
      'qkNorm: qBias is missing; a layerNorm has a bias.',
    ],
    [
      () => normModulate(t(2, 3, 4), t(2, 2, 4), { shift: 0, scale: 1, norm: 'batchNorm' as Norm }),
      'normModulate: "batchNorm" is not a norm: expected layerNorm or rmsNorm.',
    ],
  ])('%#: is said where it does not fit', (call, sentence) => {
    expect(() => scope(() => void call())).toThrow(sentence)
  })
})
