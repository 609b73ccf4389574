import { gatedResidual, layerScale } from '../../../src/tensor/ops/residual.ts'
import { random } from '../../reference/array.ts'
import * as reference from '../../reference/gated-residual.ts'
import { largestOf } from '../rounding.ts'
import { type OpCase, opCase, testOps } from './op-case.ts'

type Shape = readonly [batch: number, tokens: number, width: number]

const SHAPES: readonly Shape[] = [
  [1, 1, 1],
  [1, 1, 72],
  [3, 3, 33],
  [2, 257, 72],
  [1, 70, 1030],
]

function gatedCase(shape: Shape, chunks: number, gate: number): OpCase {
  const [batch, tokens, width] = shape
  const x = random(shape, 1)
  const y = random(shape, 2)
  const modulation = random([batch, chunks, width], 3)
  return opCase({
    name: `[${shape}], chunk ${gate} of ${chunks}`,
    inputs: { x, y, modulation },
    op: (t) => gatedResidual(t.x, t.y, t.modulation, gate),
    forward: () => reference.gatedResidual(x, y, modulation, gate),
    backward: (dOut) => {
      const { dx, dy, dModulation } = reference.gatedResidualBackward(dOut, y, modulation, gate)
      return { x: dx, y: dy, modulation: dModulation }
    },
    rounding: (dOut) => ({
      out: { roundings: 2, scale: largestOf(x) + largestOf(y) * largestOf(modulation) },
      x: { roundings: 0, scale: 0 },
      y: { roundings: 1, scale: largestOf(dOut) * largestOf(modulation) },
      modulation: { roundings: tokens + 1, scale: Math.sqrt(tokens) * largestOf(dOut) * largestOf(y) },
    }),
  })
}

function layerScaleCase(shape: readonly number[]): OpCase {
  const x = random(shape, 1)
  const y = random(shape, 2)
  const gamma = random([shape.at(-1)!], 3)
  const rows = x.data.length / gamma.data.length
  return opCase({
    name: `[${shape}]`,
    inputs: { x, y, gamma },
    op: (t) => layerScale(t.x, t.y, t.gamma),
    forward: () => reference.layerScale(x, y, gamma),
    backward: (dOut) => {
      const { dx, dy, dGamma } = reference.layerScaleBackward(dOut, y, gamma)
      return { x: dx, y: dy, gamma: dGamma }
    },
    rounding: (dOut) => ({
      out: { roundings: 2, scale: largestOf(x) + largestOf(y) * largestOf(gamma) },
      x: { roundings: 0, scale: 0 },
      y: { roundings: 1, scale: largestOf(dOut) * largestOf(gamma) },
      gamma: { roundings: rows + 1, scale: Math.sqrt(rows) * largestOf(dOut) * largestOf(y) },
    }),
  })
}

testOps('gatedResidual', [
  ...SHAPES.map((shape) => gatedCase(shape, 6, 2)),
  gatedCase([2, 3, 17], 1, 0),
  gatedCase([2, 3, 17], 3, 2),
])

testOps('layerScale', [...SHAPES, [7], [257, 3]].map(layerScaleCase))
