import { layerNorm, layerNormModulate } from '../../../src/tensor/ops/layer-norm.ts'
import { map, type NdArray, random } from '../../reference/array.ts'
import * as reference from '../../reference/layer-norm.ts'
import { largestOf, type Rounding } from '../rounding.ts'
import { type OpCase, opCase, testOps } from './op-case.ts'

/**
 * x̂ = (x − mean) · rstd: the mean is rounded at the magnitude of x, so x̂ errs at that of x · rstd; then rstd's own error, and
 * dx = rstd (g − mean g − x̂ mean(g x̂)) of that x̂. `factor` is what x̂ is multiplied by, `rows` how many a gradient sums over.
 */
function rounding(x: NdArray, epsilon: number, factor: number, offset: number, rows: number, d: number) {
  const width = x.shape.at(-1)!
  const roundings = 2 * width + 16
  let xhat = 0
  let rstd = 0
  for (let start = 0; start < x.data.length; start += width) {
    const row = x.data.subarray(start, start + width)
    const mean = row.reduce((a, b) => a + b, 0) / width
    const scale = 1 / Math.sqrt(row.reduce((a, b) => a + (b - mean) ** 2, 0) / width + epsilon)
    const largest = row.reduce((a, b) => Math.max(a, Math.abs(b)), 0)
    rstd = Math.max(rstd, scale)
    xhat = Math.max(xhat, largest * scale)
  }
  const sum = (scale: number): Rounding => ({ roundings: roundings + rows, scale: Math.sqrt(rows) * scale })
  return {
    out: { roundings, scale: factor * xhat + offset },
    x: { roundings, scale: rstd * d * factor * (2 + xhat) },
    dFactor: sum(d * xhat),
    dOffset: sum(d),
  }
}

/** `offset` and `magnitude`: x = offset + magnitude · random, to see that a large mean does not cancel. */
interface Values {
  readonly offset?: number
  readonly magnitude?: number
}

function values(shape: readonly number[], { offset = 0, magnitude = 2 }: Values): NdArray {
  return map(random(shape, 1, magnitude), (value) => Math.fround(value + offset))
}

function modulateCase(
  shape: readonly [batch: number, tokens: number, width: number],
  { chunks, shift, scale }: { chunks: number; shift: number; scale: number },
  like: Values = {},
): OpCase {
  const x = values(shape, like)
  const modulation = random([shape[0], chunks, shape[2]], 2)
  const epsilon = 1e-6
  const at = { shift, scale }
  return opCase({
    name: `[${shape}], chunks ${shift} and ${scale} of ${chunks}, x ${JSON.stringify(like)}`,
    inputs: { x, modulation },
    op: (t) => layerNormModulate(t.x, t.modulation, at),
    forward: () => reference.layerNormModulate(x, modulation, at, epsilon),
    backward: (dOut) => {
      const { dx, dModulation } = reference.layerNormModulateBackward(dOut, x, modulation, at, epsilon)
      return { x: dx, modulation: dModulation }
    },
    rounding: (dOut) => {
      const largest = largestOf(modulation)
      const bounds = rounding(x, epsilon, 1 + largest, largest, shape[1], largestOf(dOut))
      return { ...bounds, modulation: bounds.dFactor }
    },
  })
}

function affineCase(shape: readonly number[], like: Values = {}, epsilon = 1e-6): OpCase {
  const x = values(shape, like)
  const weight = random([shape.at(-1)!], 2)
  const bias = random([shape.at(-1)!], 3)
  return opCase({
    name: `[${shape}], x ${JSON.stringify(like)}, epsilon ${epsilon}`,
    inputs: { x, weight, bias },
    op: (t) => layerNorm(t.x, t.weight, t.bias, epsilon),
    forward: () => reference.layerNorm(x, weight, bias, epsilon),
    backward: (dOut) => {
      const { dx, dWeight, dBias } = reference.layerNormBackward(dOut, x, weight, epsilon)
      return { x: dx, weight: dWeight, bias: dBias }
    },
    rounding: (dOut) => {
      const rows = x.data.length / shape.at(-1)!
      const bounds = rounding(x, epsilon, largestOf(weight), largestOf(bias), rows, largestOf(dOut))
      return { ...bounds, weight: bounds.dFactor, bias: bounds.dOffset }
    },
  })
}

testOps('layerNormModulate', [
  modulateCase([1, 1, 3], { chunks: 2, shift: 0, scale: 1 }),
  modulateCase([1, 1, 72], { chunks: 6, shift: 3, scale: 4 }),
  modulateCase([3, 3, 33], { chunks: 6, shift: 0, scale: 1 }),
  modulateCase([2, 257, 72], { chunks: 8, shift: 7, scale: 6 }),
  modulateCase([1, 40, 1153], { chunks: 2, shift: 0, scale: 1 }),
  modulateCase([2, 3, 64], { chunks: 2, shift: 0, scale: 1 }, { offset: 100 }),
  modulateCase([2, 3, 64], { chunks: 2, shift: 1, scale: 0 }, { magnitude: 1e-2 }),
])

testOps('layerNorm', [
  affineCase([1, 3]),
  affineCase([5]),
  affineCase([1, 1, 72]),
  affineCase([3, 3, 33]),
  affineCase([257, 72], {}, 1e-5),
  affineCase([2, 20, 1153]),
  affineCase([7, 48], { offset: -300, magnitude: 1 }),
  affineCase([4, 64], { magnitude: 1e4 }),
])
