import { gatedResidual, layerScale } from '../../../src/tensor/ops/residual.ts'
import * as reference from '../../reference/gated-residual.ts'
import { largestOf } from '../rounding.ts'
import { type Draw, type OpCase, opCase, testOps } from './op-case.ts'

type Shape = readonly [batch: number, tokens: number, width: number]

const SHAPES: readonly Shape[] = [
  [1, 1, 1],
  [1, 1, 72],
  [3, 3, 33],
  [2, 257, 72],
  [1, 70, 1030],
  [2, 20, 384],
  [2, 9, 1152],
]

function gatedCase(draw: Draw, shape: Shape, chunks: number, gate: number): OpCase {
  const [batch, tokens, width] = shape
  const x = draw(shape, 1)
  const y = draw(shape, 2)
  const modulation = draw([batch, chunks, width], 3)
  return opCase({
    name: `[${shape}], chunk ${gate} of ${chunks}`,
    inputs: { x, y, modulation },
    compute: ['y'],
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

function layerScaleCase(draw: Draw, shape: readonly number[]): OpCase {
  const x = draw(shape, 1)
  const y = draw(shape, 2)
  const gamma = draw([shape.at(-1)!], 3)
  const rows = x.data.length / gamma.data.length
  return opCase({
    name: `[${shape}]`,
    inputs: { x, y, gamma },
    compute: ['y'],
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

testOps('gatedResidual', (draw) => [
  ...SHAPES.map((shape) => gatedCase(draw, shape, 6, 2)),
  gatedCase(draw, [2, 3, 17], 1, 0),
  gatedCase(draw, [2, 3, 17], 3, 2),
])

testOps('layerScale', (draw) => [...SHAPES, [7], [257, 3]].map((shape) => layerScaleCase(draw, shape)))
