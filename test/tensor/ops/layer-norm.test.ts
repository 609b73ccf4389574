import type { Norm } from '../../../src/native.ts'
import { layerNorm, normModulate } from '../../../src/tensor/ops/layer-norm.ts'
import { map, type NdArray, random } from '../../reference/array.ts'
import * as reference from '../../reference/layer-norm.ts'
import { rmsNormModulate, rmsNormModulateBackward } from '../../reference/rms-norm.ts'
import { largestOf } from '../rounding.ts'
import { layerNormRounding } from './layer-norm-rounding.ts'
import { type Draw, type OpCase, opCase, testOps } from './op-case.ts'

/** `offset` and `magnitude`: x = offset + magnitude · random, to see that a large mean does not cancel. */
interface Values {
  readonly offset?: number
  readonly magnitude?: number
}

function values(shape: readonly number[], { offset = 0, magnitude = 2 }: Values): NdArray {
  return map(random(shape, 1, magnitude), (value) => Math.fround(value + offset))
}

function modulateCase(
  draw: Draw,
  shape: readonly [batch: number, tokens: number, width: number],
  { chunks, shift, scale, norm = 'layerNorm' }: { chunks: number; shift: number; scale: number; norm?: Norm },
  like: Values = {},
): OpCase {
  const x = values(shape, like)
  const isRms = norm === 'rmsNorm'
  const modulation = draw([shape[0], chunks, shape[2]], 2)
  const epsilon = 1e-6
  const at = { shift, scale }
  return opCase({
    name: `${norm} [${shape}], chunks ${shift} and ${scale} of ${chunks}, x ${JSON.stringify(like)}`,
    inputs: { x, modulation },
    op: (t, _device, dtype) => normModulate(t.x, t.modulation, { ...at, dtype, norm }),
    forward: () => (isRms ? rmsNormModulate : reference.layerNormModulate)(x, modulation, at, epsilon),
    backward: (dOut) => {
      const differentiate = isRms ? rmsNormModulateBackward : reference.layerNormModulateBackward
      const { dx, dModulation } = differentiate(dOut, x, modulation, at, epsilon)
      return { x: dx, modulation: dModulation }
    },
    rounding: (dOut) => {
      const largest = largestOf(modulation)
      const bounds = layerNormRounding(x, epsilon, 1 + largest, largest, shape[1], largestOf(dOut), norm)
      return { ...bounds, modulation: bounds.dFactor }
    },
  })
}

function affineCase(draw: Draw, shape: readonly number[], like: Values = {}, epsilon = 1e-6): OpCase {
  const x = values(shape, like)
  const weight = draw([shape.at(-1)!], 2)
  const bias = draw([shape.at(-1)!], 3)
  return opCase({
    name: `[${shape}], x ${JSON.stringify(like)}, epsilon ${epsilon}`,
    inputs: { x, weight, bias },
    op: (t, _device, dtype) => layerNorm(t.x, t.weight, t.bias, epsilon, dtype),
    forward: () => reference.layerNorm(x, weight, bias, epsilon),
    backward: (dOut) => {
      const { dx, dWeight, dBias } = reference.layerNormBackward(dOut, x, weight, epsilon)
      return { x: dx, weight: dWeight, bias: dBias }
    },
    rounding: (dOut) => {
      const rows = x.data.length / shape.at(-1)!
      const bounds = layerNormRounding(x, epsilon, largestOf(weight), largestOf(bias), rows, largestOf(dOut))
      return { ...bounds, weight: bounds.dFactor, bias: bounds.dOffset }
    },
  })
}

testOps('normModulate', (draw) => [
  modulateCase(draw, [1, 1, 3], { chunks: 2, shift: 0, scale: 1 }),
  modulateCase(draw, [1, 1, 72], { chunks: 6, shift: 3, scale: 4 }),
  modulateCase(draw, [3, 3, 33], { chunks: 6, shift: 0, scale: 1 }),
  modulateCase(draw, [2, 257, 72], { chunks: 8, shift: 7, scale: 6 }),
  // So many rows that a GPU's warp has several.
  modulateCase(draw, [2, 2200, 4], { chunks: 2, shift: 0, scale: 1 }),
  modulateCase(draw, [1, 40, 1153], { chunks: 2, shift: 0, scale: 1 }),
  modulateCase(draw, [2, 3, 64], { chunks: 2, shift: 0, scale: 1 }, { offset: 100 }),
  modulateCase(draw, [2, 3, 64], { chunks: 2, shift: 1, scale: 0 }, { magnitude: 1e-2 }),
  // The widths of SiT-S to XL and what lies between, for a GPU that cuts rows by their width.
  ...[200, 384, 500, 768, 1024, 1152, 1280, 1536, 1540, 2048, 2052].map((width) =>
    modulateCase(draw, [2, 5, width], { chunks: 3, shift: 2, scale: 0 }),
  ),
  modulateCase(draw, [3, 3, 33], { chunks: 6, shift: 0, scale: 1, norm: 'rmsNorm' }),
  modulateCase(draw, [2, 257, 72], { chunks: 8, shift: 7, scale: 6, norm: 'rmsNorm' }),
  modulateCase(draw, [1, 40, 1153], { chunks: 2, shift: 0, scale: 1, norm: 'rmsNorm' }),
  // A mean that an RMSNorm leaves in.
  modulateCase(draw, [2, 3, 64], { chunks: 2, shift: 0, scale: 1, norm: 'rmsNorm' }, { offset: 100 }),
  modulateCase(draw, [2, 3, 64], { chunks: 2, shift: 1, scale: 0, norm: 'rmsNorm' }, { magnitude: 1e-3 }),
  ...[384, 1152, 1792, 2052].map((width) =>
    modulateCase(draw, [2, 5, width], { chunks: 3, shift: 2, scale: 0, norm: 'rmsNorm' }),
  ),
])

testOps('layerNorm', (draw) => [
  affineCase(draw, [1, 3]),
  affineCase(draw, [5]),
  affineCase(draw, [1, 1, 72]),
  affineCase(draw, [3, 3, 33]),
  affineCase(draw, [257, 72], {}, 1e-5),
  affineCase(draw, [2, 20, 1153]),
  affineCase(draw, [7, 48], { offset: -300, magnitude: 1 }),
  affineCase(draw, [4, 64], { magnitude: 1e4 }),
  affineCase(draw, [50, 768]),
])
