import { expect, test } from 'vitest'
import type { Activation } from '../../../src/native.ts'
import { activation, add, silu, swiGLU } from '../../../src/tensor/ops/elementwise.ts'
import { Tape } from '../../../src/tensor/tape.ts'
import { Tensor } from '../../../src/tensor/tensor.ts'
import * as reference from '../../reference/activation.ts'
import { fromValues, map, type NdArray, sum } from '../../reference/array.ts'
import { DEVICES } from '../devices.ts'
import { largestOf, type Rounding } from '../rounding.ts'
import { type OpCase, opCase, testOps, upload } from './op-case.ts'

/** Below, at and beyond a vector, a row and a chunk. */
const SHAPES: readonly (readonly number[])[] = [[], [1], [3], [1, 17], [2, 257, 3], [33_000]]
const FUNCTIONS = ['silu', 'gelu-tanh', 'gelu-erf', 'quick-gelu'] as const

/**
 * Operations of the longest of the kernels' formulas; native/cpu/vector_math.h gives e^x within 3 and the error function within 4
 * half-ulps. The slope of the tanh form goes through x · s(1 − s) · (1.6 + 0.22 x²), whose argument x (1.6 + 0.072 x²) is rounded.
 */
const ROUNDINGS = 16

function functionRounding(kind: Activation, x: NdArray, d: number): Record<string, Rounding> {
  const large = Math.max(1, largestOf(x))
  const steep = kind === 'gelu-tanh' ? Math.min(large, 6) * (1.6 + 0.22 * Math.min(large, 6) ** 2) : large
  return { out: { roundings: ROUNDINGS, scale: large }, x: { roundings: ROUNDINGS, scale: d * Math.max(1, steep) } }
}

function activationCase(kind: (typeof FUNCTIONS)[number], x: NdArray, name: string): OpCase {
  return opCase({
    name: `${kind} of ${name}`,
    inputs: { x },
    compute: ['x'],
    op: (t) => (kind === 'silu' ? silu(t.x) : activation(t.x, kind)),
    forward: () => reference.activation(x, kind),
    backward: (dOut) => ({ x: reference.activationBackward(dOut, x, kind) }),
    rounding: (dOut) => functionRounding(kind, x, largestOf(dOut)),
  })
}

testOps('activation', (draw) => [
  ...FUNCTIONS.flatMap((kind) => SHAPES.map((shape) => activationCase(kind, draw(shape, 1, 4), `[${shape}]`))),
  // From where the functions are 0 or x to float32, through every seam of their approximations.
  ...FUNCTIONS.map((kind) => activationCase(kind, draw([2001], 2, 12.5), '-12.5 to 12.5')),
])

/** Beyond the middle the result is exactly x or 0, and the slope 1 or 0, at any magnitude. `magnitudes` are in ascending order. */
function saturatedCases(magnitudes: readonly number[]): OpCase[] {
  const shape = [2 * magnitudes.length]
  const negative = magnitudes.map((value) => -value).reverse()
  const x = fromValues(shape, [...negative, ...magnitudes])
  // Absolutely within 1e-35: nothing but what is below the normal numbers.
  const bound = { roundings: 1, scale: 2 ** 24 * 1e-35 }
  return FUNCTIONS.map((kind) => ({
    ...activationCase(kind, x, `magnitudes up to ${magnitudes.at(-1)}`),
    forward: () => fromValues(shape, [...negative.map(() => 0), ...magnitudes]),
    backward: (dOut: NdArray) => ({ x: map(dOut, (d, i) => (i < magnitudes.length ? 0 : d)) }),
    rounding: () => ({ out: bound, x: bound }),
  }))
}

// Up to where the square of x, which the tanh form's slope takes, still is a float32; and what every dtype holds exactly.
testOps('saturated activation', saturatedCases([89, 100, 1e4, 1e18].map(Math.fround)))
testOps('saturated activation', () => saturatedCases([96, 128, 2 ** 13, 2 ** 15]))

testOps('swiGLU', (draw) =>
  [[2], [1, 1, 6], [3, 34], [2, 257, 16], [1, 70_000]].map((shape) => {
    const x = draw(shape, 1, 3)
    return opCase({
      name: `[${shape}]`,
      inputs: { x },
      compute: ['x'],
      op: (t) => swiGLU(t.x),
      forward: () => reference.swiGlu(x),
      backward: (dOut) => ({ x: reference.swiGluBackward(dOut, x) }),
      rounding: (dOut) => ({
        out: { roundings: ROUNDINGS, scale: largestOf(x) ** 2 },
        x: { roundings: ROUNDINGS, scale: largestOf(dOut) * largestOf(x) ** 2 },
      }),
    })
  }),
)

testOps('add', (draw) =>
  SHAPES.map((shape) => {
    const a = draw(shape, 1)
    const b = draw(shape, 2)
    return opCase({
      name: `[${shape}]`,
      inputs: { a, b },
      compute: ['a', 'b'],
      op: (t) => add(t.a, t.b),
      forward: () => sum(a, b),
      backward: (dOut) => ({ a: dOut, b: dOut }),
      rounding: () => ({
        out: { roundings: 1, scale: 2 },
        a: { roundings: 0, scale: 0 },
        b: { roundings: 0, scale: 0 },
      }),
    })
  }),
)

for (const { device, missing } of DEVICES) {
  test.skipIf(missing)(`swiGLU's gradient by a saturated gate is as exact as SiLU's on ${device}`, async () => {
    const gates = Array.from({ length: 400 }, (_, i) => Math.fround(8 + i / 32))
    // Beside the gates ones, so that the gates' gradient is SiLU's slope.
    using x = upload(fromValues([1, 2 * gates.length], [...gates, ...gates.map(() => 1)]), device)
    using tape = new Tape()
    tape.watch(x)
    using out = tape.record(() => swiGLU(x))
    using ones = Tensor.full(out.shape, 1, device)
    tape.seed(out, ones.alias())
    const gradients = tape.backward()
    const slopes = (await gradients.get(x)!.data()).slice(0, gates.length)
    gradients.dispose()
    const errors = gates.map((gate, i) => {
      const rest = 1 / (1 + Math.exp(gate))
      return Math.abs(slopes[i]! - (1 - rest) * (1 + gate * rest))
    })
    // 1 + e and its inverse, 1 + x (1 − s), and their product, all between 1/2 and 2; x (1 − s) itself is below 3e-3.
    expect(Math.max(...errors)).toBeLessThanOrEqual(4 * 2 ** -24)
  })
}
