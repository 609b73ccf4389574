import { embedding, fourierFeatures, timestepEmbedding } from '../../../src/tensor/ops/embedding.ts'
import { Tensor } from '../../../src/tensor/tensor.ts'
import { fromValues, type NdArray, random, randomIntegers, zeros } from '../../reference/array.ts'
import * as reference from '../../reference/embedding.ts'
import { timestepEmbedding as features } from '../../reference/timestep-embedding.ts'
import { largestOf } from '../rounding.ts'
import { type OpCase, opCase, testOps } from './op-case.ts'

function lookupCase(rows: number, width: number, ids: readonly number[]): OpCase {
  const table = random([rows, width], 1)
  const most = Math.max(...ids.map((id) => ids.filter((other) => other === id).length))
  return opCase({
    name: `${ids.length} of ${rows} rows of ${width}`,
    inputs: { table },
    op: (t, device) => embedding(t.table, Tensor.from(Int32Array.from(ids), [ids.length], device)),
    forward: () => reference.embedding(ids, table),
    backward: (dOut) => ({ table: reference.embeddingBackward(dOut, ids, rows) }),
    rounding: (dOut) => ({
      out: { roundings: 0, scale: 0 },
      table: { roundings: most, scale: Math.sqrt(most) * largestOf(dOut) },
    }),
  })
}

testOps('embedding', [
  lookupCase(1, 1, [0]),
  lookupCase(5, 3, [0, 4, 0, 2, 4, 4]),
  lookupCase(1001, 72, randomIntegers(3, 1001, 1)),
  lookupCase(10, 130, randomIntegers(257, 10, 2)),
  lookupCase(3, 1153, randomIntegers(70, 3, 3)),
])

/**
 * The exponent −ln(period) i / half is rounded three times at up to ln(period), which the exponential turns into that much of the
 * frequency, and frequency and product once each.
 */
function timestepCase(t: NdArray, dim: number, maxPeriod = 10_000): OpCase {
  return opCase({
    name: `${t.data.length} times up to ${largestOf(t)}, dim ${dim}, period ${maxPeriod}`,
    inputs: { t },
    op: (tensors) => timestepEmbedding(tensors.t, dim, maxPeriod),
    forward: () => features(t, dim, maxPeriod),
    rounding: () => ({
      out: { roundings: Math.ceil(3 * Math.log(maxPeriod)) + 4, scale: Math.max(1, largestOf(t)) },
    }),
  })
}

testOps('timestepEmbedding', [
  timestepCase(fromValues([1], [0]), 2),
  timestepCase(fromValues([3], [0, 0.5, 1]), 256),
  timestepCase(random([257], 1), 33),
  timestepCase(fromValues([2], [999, 500.25]), 72),
  timestepCase(random([5], 2), 1),
  timestepCase(random([5], 2), 16, 100),
])

/** RAE's GaussianFourierEmbedding: [sin | cos](2 pi t f). An argument of a is rounded three times, at up to a. */
function fourierCase(t: NdArray, frequencies: NdArray): OpCase {
  const turns = largestOf(t) * largestOf(frequencies)
  return opCase({
    name: `${t.data.length} times at ${frequencies.data.length} frequencies up to ${largestOf(frequencies)}`,
    inputs: { t, frequencies },
    op: (tensors) => fourierFeatures(tensors.t, tensors.frequencies),
    forward: () => {
      const count = frequencies.data.length
      const out = zeros([t.data.length, 2 * count])
      for (let b = 0; b < t.data.length; b++) {
        for (let i = 0; i < count; i++) {
          const argument = 2 * Math.PI * t.data[b]! * frequencies.data[i]!
          out.data[2 * b * count + i] = Math.sin(argument)
          out.data[(2 * b + 1) * count + i] = Math.cos(argument)
        }
      }
      return out
    },
    // The product, its product with pi, and pi itself; and the result once.
    rounding: () => ({ out: { roundings: 4, scale: Math.max(1, 2 * Math.PI * turns) } }),
  })
}

testOps('fourierFeatures', [
  fourierCase(fromValues([1], [0]), random([1], 1)),
  fourierCase(fromValues([3], [0, 0.5, 1]), random([256], 2, 3)),
  fourierCase(random([257], 3), random([5], 4, 3)),
])
