import type { InterpolantPath } from '../../../src/native.ts'
import { interpolant, samplePosterior } from '../../../src/tensor/ops/interpolant.ts'
import { fromValues, type NdArray, random, zeros } from '../../reference/array.ts'
import * as reference from '../../reference/interpolant.ts'
import { opCase, testOps } from './op-case.ts'

const SHAPES = [
  [1, 1],
  [3, 17],
  [2, 4, 3, 5],
  [1, 33_000],
]
const PATHS: readonly InterpolantPath[] = ['linear', 'cosine']

/** Times with both ends, exact in float32. */
function times(batch: number): NdArray {
  return fromValues(
    [batch],
    Array.from({ length: batch }, (_, i) => (i === 0 ? 0.375 : i % 2)),
  )
}

testOps(
  'interpolant',
  SHAPES.flatMap((shape) =>
    PATHS.flatMap((path) =>
      (['interpolated', 'velocity'] as const).map((result) => {
        const [x, noise, t] = [random(shape, 1), random(shape, 2), times(shape[0])]
        return opCase({
          name: `${result} of [${shape}] on the ${path} path`,
          inputs: { x, noise, t },
          op: (tensors) => {
            const both = interpolant(tensors.x, tensors.noise, tensors.t, path)
            return both[result]
          },
          forward: () => reference.interpolant(x, noise, t, path)[result === 'velocity' ? 'target' : 'xt'],
          // Two coefficients of at most pi / 2, rounded, two products and a sum.
          rounding: () => ({ out: { roundings: 3, scale: Math.PI } }),
        })
      }),
    ),
  ),
)

testOps(
  'samplePosterior',
  [
    [1, 1, 1, 1],
    [3, 4, 3, 5],
    [2, 4, 257, 33],
  ].map(([batch, channels, height, width]) => {
    const noise = random([batch, channels, height, width], 1, 3)
    const moments = random([batch, 2 * channels, height, width], 2)
    const [scale, bias] = [0.18215, -0.25]
    return opCase({
      name: `[${noise.shape}]`,
      inputs: { moments, noise },
      op: (t) => samplePosterior(t.moments, t.noise, scale, bias),
      forward: () => {
        const out = zeros(noise.shape)
        const size = channels * height * width
        for (let i = 0; i < out.data.length; i++) {
          const mean = Math.floor(i / size) * 2 * size + (i % size)
          out.data[i] = (moments.data[mean] + moments.data[mean + size] * noise.data[i]) * scale + bias
        }
        return out
      },
      // mean + std · noise, times the scale, plus the bias; scale and bias are rounded too.
      rounding: () => ({ out: { roundings: 5, scale: 4 * scale + Math.abs(bias) } }),
    })
  }),
)
