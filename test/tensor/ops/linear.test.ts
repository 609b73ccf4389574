import { describe, expect, test } from 'vitest'
import type { Activation } from '../../../src/native.ts'
import {
  linear,
  linearGatedResidual,
  linearResidual,
  mlp,
  mlpGatedResidual,
  mlpResidual,
} from '../../../src/tensor/ops/linear.ts'
import { Tensor } from '../../../src/tensor/tensor.ts'
import { map, type NdArray, random, scaled, sum, zeros } from '../../reference/array.ts'
import { gatedResidual, gatedResidualBackward, layerScale, layerScaleBackward } from '../../reference/gated-residual.ts'
import { linear as affine, linearBackward } from '../../reference/linear.ts'
import { expectRounded, largestOf, type Rounding } from '../rounding.ts'
import { type Draw, type OpCase, opCase, testOps } from './op-case.ts'

/** Widths from input to output: [in, hidden ..., out]. */
interface Stack {
  readonly widths: readonly number[]
  readonly activation: Activation
  readonly bias: boolean
}

/** Weights `weight0`, `bias0`, `weight1` ..., of the size that keeps a signal's magnitude. */
function parameters(draw: Draw, { widths, bias }: Stack): Record<string, NdArray> {
  const named: Record<string, NdArray> = {}
  for (let i = 0; i + 1 < widths.length; i++) {
    named[`weight${i}`] = draw([widths[i + 1], widths[i]], 10 + i, Math.sqrt(3 / widths[i]))
    if (bias) named[`bias${i}`] = draw([widths[i + 1]], 20 + i)
  }
  return named
}

/** The inputs in the dtype in which the model computes. */
function computeInputs({ widths }: Stack): string[] {
  return ['x', ...widths.slice(1).map((_, i) => `weight${i}`)]
}

function layersOf<T>(inputs: Readonly<Record<string, T>>, { widths }: Stack): { weight: T; bias: T | undefined }[] {
  return widths.slice(1).map((_, i) => ({ weight: inputs[`weight${i}`]!, bias: inputs[`bias${i}`] }))
}

function stackForward(x: NdArray, layers: readonly { weight: NdArray; bias?: NdArray }[], activation: Activation) {
  const inputs = [x]
  layers.forEach(({ weight, bias }, i) => {
    inputs.push(affine(inputs[i], weight, bias, i + 1 < layers.length ? activation : 'none'))
  })
  return inputs
}

function stackBackward(
  dOut: NdArray,
  inputs: readonly NdArray[],
  layers: readonly { weight: NdArray; bias?: NdArray }[],
  activation: Activation,
): Record<string, NdArray> {
  const gradients: Record<string, NdArray> = {}
  let d = dOut
  for (let i = layers.length - 1; i >= 0; i--) {
    const { weight, bias } = layers[i]
    const { dx, dWeight, dBias } = linearBackward(
      d,
      inputs[i],
      weight,
      bias,
      i + 1 < layers.length ? activation : 'none',
    )
    gradients[`weight${i}`] = dWeight
    if (bias) gradients[`bias${i}`] = dBias
    d = dx
  }
  return { ...gradients, x: d }
}

/** Largest norm of a row of a matrix, or of a column. */
function norm(weight: NdArray, axis: 'row' | 'column'): number {
  const [rows, columns] = weight.shape
  const sums = new Float64Array(axis === 'row' ? rows : columns)
  weight.data.forEach((value, i) => {
    sums[axis === 'row' ? Math.floor(i / columns) : i % columns] += value * value
  })
  return Math.sqrt(sums.reduce((a, b) => Math.max(a, b)))
}

/** The slope of SiLU and both GELUs is at most this. */
const STEEPEST = 1.13

/**
 * Magnitudes along a stack for an input of magnitude |x| and an output gradient of |d|: a product's terms have the norm
 * ‖w‖ |x|, and a gradient's that come back through an activation also the slope's error, |f''| <= 1.2 times the error before it.
 */
function stackRounding(
  x: NdArray,
  layers: readonly { weight: NdArray; bias?: NdArray }[],
  d: number,
): Record<string, Rounding> {
  const rows = x.data.length / x.shape.at(-1)!
  const roundings = layers.reduce((total, { weight }) => total + weight.shape[0] + weight.shape[1] + 16, rows)
  const inputs = [largestOf(x)]
  const products = layers.map(({ weight, bias }, i) => {
    const product = norm(weight, 'row') * inputs[i] + (bias ? largestOf(bias) : 0)
    inputs.push(STEEPEST * product)
    return product
  })
  const bounds: Record<string, Rounding> = { out: { roundings, scale: products.at(-1)! } }
  let gradient = d
  for (let i = layers.length - 1; i >= 0; i--) {
    bounds[`weight${i}`] = { roundings, scale: Math.sqrt(rows) * gradient * inputs[i] }
    bounds[`bias${i}`] = { roundings, scale: Math.sqrt(rows) * gradient }
    gradient *= norm(layers[i].weight, 'column') * (i > 0 ? STEEPEST + products[i - 1] : 1)
  }
  return { ...bounds, x: { roundings, scale: gradient } }
}

/**
 * What a narrow dtype adds, in units of its roundoff: every hidden layer's pre-activation, the result of that and its gradient are
 * rounded to it once, and each such error goes on as the values do: through ‖w‖, through a slope, and from a pre-activation into the slope
 * (|f''| <= 1.2; of a value's own rounding |p f''(p)| <= 0.35). `dError`: how far dOut is off already.
 */
function stackErrors(
  dOut: NdArray,
  dError: number,
  inputs: readonly NdArray[],
  layers: readonly { weight: NdArray; bias?: NdArray }[],
  activation: Activation,
): Record<string, number> {
  const matrix = (a: NdArray) => ({ ...a, shape: [a.data.length / a.shape.at(-1)!, a.shape.at(-1)!] })
  const last = layers.length - 1
  const ofInputs = [0]
  const ofProducts = layers.map(({ weight, bias }, i) => {
    const error = norm(weight, 'row') * ofInputs[i]
    const pre = largestOf(affine(inputs[i], weight, bias, 'none'))
    ofInputs.push(STEEPEST * (error + pre) + largestOf(inputs[i + 1]))
    return error
  })
  const errors: Record<string, number> = { out: ofProducts[last] }
  let [d, steepest, error] = [dOut, 1, dError]
  for (let i = last; i >= 0; i--) {
    const { weight, bias } = layers[i]
    const [input, gradient] = [matrix(inputs[i]), matrix(d)]
    errors[`weight${i}`] = error * norm(input, 'column') + steepest * norm(gradient, 'column') * ofInputs[i]
    errors[`bias${i}`] = error * Math.sqrt(input.shape[0])
    d = linearBackward(d, inputs[i], weight, bias, i < last ? activation : 'none').dx
    error *= norm(weight, 'column')
    if (i > 0) {
      steepest = STEEPEST
      error = STEEPEST * error + largestOf(d) * (1.2 * ofProducts[i - 1] + 0.35 + STEEPEST)
    }
  }
  return { ...errors, x: error }
}

/** `bounds` with errors in units of the narrow dtype's roundoff. */
function withErrors(
  bounds: Readonly<Record<string, Rounding>>,
  errors: Readonly<Record<string, number>>,
): Record<string, Rounding> {
  const entries = Object.entries(bounds).map(([name, bound]) => [
    name,
    { ...bound, computeRoundings: bound.scale > 0 ? (errors[name] ?? 0) / bound.scale : 0 },
  ])
  return Object.fromEntries(entries)
}

const text = ({ widths, activation, bias }: Stack) =>
  `${widths.join(' to ')}${widths.length > 2 ? `, ${activation}` : ''}${bias ? '' : ', no bias'}`

function mlpCase(draw: Draw, rows: readonly number[], stack: Stack): OpCase {
  const x = draw([...rows, stack.widths[0]], 1)
  const named = parameters(draw, stack)
  const layers = layersOf(named, stack)
  const inputs = stackForward(x, layers, stack.activation)
  return opCase({
    name: `mlp of [${rows}] rows, ${text(stack)}`,
    inputs: { x, ...named },
    compute: computeInputs(stack),
    op: (tensors: Record<string, Tensor>) =>
      stack.widths.length === 2
        ? linear(tensors.x!, layersOf(tensors, stack)[0])
        : mlp(tensors.x!, layersOf(tensors, stack), stack.activation),
    forward: () => inputs.at(-1)!,
    backward: (dOut) => stackBackward(dOut, inputs, layers, stack.activation),
    rounding: (dOut) =>
      withErrors(stackRounding(x, layers, largestOf(dOut)), stackErrors(dOut, 0, inputs, layers, stack.activation)),
  })
}

function gatedCase(draw: Draw, rows: readonly [number, number], stack: Stack, chunks: number, gate: number): OpCase {
  const width = stack.widths.at(-1)!
  const x = draw([...rows, stack.widths[0]], 1)
  const residual = draw([...rows, width], 2)
  const modulation = draw([rows[0], chunks, width], 3)
  const named = parameters(draw, stack)
  const layers = layersOf(named, stack)
  const inputs = stackForward(x, layers, stack.activation)
  const y = inputs.at(-1)!
  return opCase({
    name: `gated residual of [${rows}] rows, ${text(stack)}, chunk ${gate} of ${chunks}`,
    inputs: { x, residual, modulation, ...named },
    compute: computeInputs(stack),
    op: (tensors: Record<string, Tensor>) => {
      const target = { residual: tensors.residual!, modulation: tensors.modulation!, gate }
      return stack.widths.length === 2
        ? linearGatedResidual(tensors.x!, layersOf(tensors, stack)[0], target)
        : mlpGatedResidual(tensors.x!, layersOf(tensors, stack), stack.activation, target)
    },
    forward: () => gatedResidual(residual, y, modulation, gate),
    backward: (dOut) => {
      const { dx, dy, dModulation } = gatedResidualBackward(dOut, y, modulation, gate)
      return { ...stackBackward(dy, inputs, layers, stack.activation), residual: dx, modulation: dModulation }
    },
    rounding: (dOut) => {
      const bounds = stackRounding(x, layers, largestOf(dOut) * largestOf(modulation))
      const { roundings, scale } = bounds.out!
      // The branch's gradient is rounded before the stack's backward pass, and y for the gate's gradient.
      const { dy } = gatedResidualBackward(dOut, y, modulation, gate)
      const errors = stackErrors(dy, largestOf(dy), inputs, layers, stack.activation)
      const sums = Math.sqrt(rows[1]) * largestOf(dOut)
      return withErrors(
        {
          ...bounds,
          out: { roundings, scale: largestOf(residual) + largestOf(modulation) * scale },
          residual: { roundings: 0, scale: 0 },
          modulation: { roundings, scale: sums * scale },
        },
        {
          ...errors,
          out: largestOf(modulation) * errors.out!,
          modulation: sums * (errors.out! + largestOf(y)),
        },
      )
    },
  })
}

function residualCase(draw: Draw, rows: readonly number[], stack: Stack, scaled: boolean): OpCase {
  const width = stack.widths.at(-1)!
  const x = draw([...rows, stack.widths[0]], 1)
  const residual = draw([...rows, width], 4)
  const gamma = draw([width], 5)
  const one = map(zeros([width]), () => 1)
  const factor = scaled ? gamma : one
  const named: Record<string, NdArray> = { ...(scaled && { gamma }), ...parameters(draw, stack) }
  const layers = layersOf(named, stack)
  const inputs = stackForward(x, layers, stack.activation)
  const y = inputs.at(-1)!
  const all: Record<string, NdArray> = { x, residual, ...named }
  return opCase({
    name: `${scaled ? 'scaled ' : ''}residual of [${rows}] rows, ${text(stack)}`,
    inputs: all,
    compute: computeInputs(stack),
    op: (tensors: Record<string, Tensor>, device) => {
      const ones = Tensor.full([width], 1, device)
      const target = { residual: tensors.residual!, gamma: tensors.gamma, ones }
      return stack.widths.length === 2
        ? linearResidual(tensors.x!, layersOf(tensors, stack)[0], target)
        : mlpResidual(tensors.x!, layersOf(tensors, stack), stack.activation, target)
    },
    forward: () => layerScale(residual, y, factor),
    backward: (dOut) => {
      const { dx, dy, dGamma } = layerScaleBackward(dOut, y, factor)
      return {
        ...stackBackward(dy, inputs, layers, stack.activation),
        residual: dx,
        ...(scaled && { gamma: dGamma }),
      }
    },
    rounding: (dOut) => {
      const bounds = stackRounding(x, layers, largestOf(dOut) * largestOf(factor))
      const { roundings, scale } = bounds.out!
      // The branch's gradient is rounded before the stack's backward pass, and y for γ's gradient.
      const { dy } = layerScaleBackward(dOut, y, factor)
      const errors = stackErrors(dy, largestOf(dy), inputs, layers, stack.activation)
      const sums = Math.sqrt(x.data.length / stack.widths[0]) * largestOf(dOut)
      return withErrors(
        {
          ...bounds,
          out: { roundings: roundings + 2, scale: largestOf(residual) + largestOf(factor) * scale },
          residual: { roundings: 0, scale: 0 },
          gamma: { roundings, scale: sums * scale },
        },
        {
          ...errors,
          out: largestOf(factor) * errors.out!,
          gamma: sums * (errors.out! + largestOf(y)),
        },
      )
    },
  })
}

const plain = (...widths: number[]): Stack => ({ widths, activation: 'none', bias: true })

testOps('linear', (draw) => [
  ...[
    [[1], plain(1, 1)],
    [[1, 1], plain(72, 216)],
    [[3], plain(7, 5)],
    [[1, 3], plain(72, 17)],
    [[2, 257], plain(24, 40)],
    [[1, 257], plain(33, 65)],
    [[5, 2, 3], plain(129, 31)],
    [[4], plain(257, 97)],
    [[67], { ...plain(19, 130), bias: false }],
    [[2, 150], plain(328, 264)],
    // More rows of tiles than a GPU takes in one band.
    [[2200], plain(8, 136)],
    [[2200], plain(7, 136)],
  ].map(([rows, stack]) => mlpCase(draw, rows as number[], stack as Stack)),
  ...(['silu', 'gelu-tanh', 'gelu-erf', 'quick-gelu'] as const).map((activation) =>
    mlpCase(draw, [1, 3], { ...plain(72, 145, 18), activation }),
  ),
  // With nothing between the layers.
  mlpCase(draw, [1, 3], plain(72, 145, 18)),
  mlpCase(draw, [2, 131], { ...plain(16, 24, 37, 5), bias: false }),
  mlpCase(draw, [2, 131], { ...plain(16, 37, 5), activation: 'gelu-tanh' }),
  // Several tiles, all aligned, an odd number of rows of them: what Hopper's kernel finishes in registers.
  ...(['silu', 'gelu-tanh', 'gelu-erf'] as const).map((activation) =>
    mlpCase(draw, [2, 131], { ...plain(16, 200, 72), activation }),
  ),
  mlpCase(draw, [1, 1], { ...plain(40, 24, 17, 9), activation: 'silu' }),
  mlpCase(draw, [1, 257], { ...plain(12, 20, 33, 7), activation: 'silu', bias: false }),
])

testOps('linearGatedResidual and mlpGatedResidual', (draw) => [
  gatedCase(draw, [1, 1], plain(72, 72), 6, 2),
  gatedCase(draw, [3, 3], plain(20, 33), 2, 0),
  gatedCase(draw, [2, 257], { ...plain(24, 17), bias: false }, 3, 2),
  gatedCase(draw, [2, 3], { ...plain(24, 96, 24), activation: 'gelu-tanh' }, 6, 5),
  gatedCase(draw, [2, 3], plain(24, 96, 24), 6, 5),
  gatedCase(draw, [1, 257], { ...plain(9, 37, 9), activation: 'gelu-erf', bias: false }, 6, 5),
  gatedCase(draw, [3, 1], { ...plain(10, 21, 14, 18), activation: 'silu' }, 1, 0),
  // As on Hopper all rows of a tile have one gate, or not.
  gatedCase(draw, [3, 64], plain(80, 136), 2, 1),
  gatedCase(draw, [3, 128], plain(80, 136), 2, 1),
  gatedCase(draw, [2, 140], plain(24, 136), 2, 1),
])

testOps('linearResidual and mlpResidual', (draw) =>
  [false, true].flatMap((scaled) => [
    residualCase(draw, [1, 1], plain(72, 72), scaled),
    residualCase(draw, [2, 257], plain(33, 20), scaled),
    residualCase(draw, [3], { ...plain(7, 130), bias: false }, scaled),
    residualCase(draw, [2, 140], plain(24, 136), scaled),
    residualCase(draw, [2, 3], { ...plain(24, 96, 24), activation: 'gelu-erf' }, scaled),
    residualCase(draw, [1, 257], { ...plain(9, 37, 9), activation: 'quick-gelu', bias: false }, scaled),
  ]),
)

// The bounds above must see what they are for: one term of a long sum left out, one bias forgotten.
describe('the bounds notice', () => {
  const stack = plain(257, 97)
  const table = mlpCase(random, [4], stack)

  test('a missing term', () => {
    const wrong = affine(
      { ...table.inputs.x!, data: table.inputs.x!.data.map((value, i) => (i % 257 === 200 ? 0 : value)) },
      table.inputs.weight0!,
      table.inputs.bias0,
    )
    expect(() => expectRounded('out', wrong, table.forward(), table.rounding(zeros([1])).out!)).toThrow('expected')
  })

  test('a factor off by a thousandth', () => {
    const wrong = sum(table.forward(), scaled(table.forward(), 1e-3))
    expect(() => expectRounded('out', wrong, table.forward(), table.rounding(zeros([1])).out!)).toThrow('expected')
  })
})
