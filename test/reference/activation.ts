import { map, type NdArray, sum, zeros } from './array.ts'

export type Activation = 'none' | 'gelu-tanh' | 'gelu-erf' | 'quick-gelu' | 'silu'

const SQRT_2_OVER_PI = Math.sqrt(2 / Math.PI)

/**
 * erf(x) = 2/sqrt(pi) e^(-x^2) sum_n 2^n x^(2n+1) / (2n+1)!! (Abramowitz & Stegun 7.1.6). All terms have one sign, so
 * nothing cancels. Beyond |x| = 6, 1 - |erf| is below half an ulp.
 */
export function erf(x: number): number {
  if (Math.abs(x) > 6) return Math.sign(x)
  let term = x
  let series = x
  for (let n = 1; Math.abs(term) > 1e-18 * Math.abs(series); n++) {
    term *= (2 * x * x) / (2 * n + 1)
    series += term
  }
  return (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * series
}

export function sigmoid(x: number): number {
  return 1 / (1 + Math.exp(-x))
}

/** The activation of one number. */
export function activate(kind: Activation, x: number): number {
  switch (kind) {
    case 'none':
      return x
    case 'silu':
      return x * sigmoid(x)
    case 'quick-gelu':
      return x * sigmoid(1.702 * x)
    case 'gelu-erf':
      return 0.5 * x * (1 + erf(x / Math.SQRT2))
    case 'gelu-tanh':
      return 0.5 * x * (1 + Math.tanh(SQRT_2_OVER_PI * (x + 0.044715 * x ** 3)))
  }
}

/** The derivative of the activation at `x`. */
export function activationDerivative(kind: Activation, x: number): number {
  switch (kind) {
    case 'none':
      return 1
    case 'silu':
      return sigmoid(x) * (1 + x * (1 - sigmoid(x)))
    case 'quick-gelu':
      return sigmoid(1.702 * x) * (1 + 1.702 * x * (1 - sigmoid(1.702 * x)))
    case 'gelu-erf':
      return 0.5 * (1 + erf(x / Math.SQRT2)) + (x * Math.exp(-0.5 * x * x)) / Math.sqrt(2 * Math.PI)
    case 'gelu-tanh': {
      const tanh = Math.tanh(SQRT_2_OVER_PI * (x + 0.044715 * x ** 3))
      return 0.5 * (1 + tanh) + 0.5 * x * (1 - tanh ** 2) * SQRT_2_OVER_PI * (1 + 3 * 0.044715 * x ** 2)
    }
  }
}

/** Elementwise activation, any shape. */
export function activation(x: NdArray, kind: Activation): NdArray {
  return map(x, (value) => activate(kind, value))
}

/** dx of `activation`; `x` is its input. */
export function activationBackward(dy: NdArray, x: NdArray, kind: Activation): NdArray {
  return map(x, (value, i) => dy.data[i] * activationDerivative(kind, value))
}

/** SwiGLU's gate: [..., 2h] holds x1 | x2; silu(x1) * x2 -> [..., h]. */
export function swiGlu(x12: NdArray): NdArray {
  const width = x12.shape.at(-1)! / 2
  const y = zeros([...x12.shape.slice(0, -1), width])
  for (let row = 0; row < y.data.length / width; row++) {
    for (let i = 0; i < width; i++) {
      const x1 = x12.data[row * 2 * width + i]
      const x2 = x12.data[row * 2 * width + width + i]
      y.data[row * width + i] = activate('silu', x1) * x2
    }
  }
  return y
}

/** Gradient of `swiGlu` with regard to its packed input, [..., 2h]. */
export function swiGluBackward(dy: NdArray, x12: NdArray): NdArray {
  const width = x12.shape.at(-1)! / 2
  const dx12 = zeros(x12.shape)
  for (let row = 0; row < dy.data.length / width; row++) {
    for (let i = 0; i < width; i++) {
      const x1 = x12.data[row * 2 * width + i]
      const x2 = x12.data[row * 2 * width + width + i]
      const d = dy.data[row * width + i]
      dx12.data[row * 2 * width + i] = d * x2 * activationDerivative('silu', x1)
      dx12.data[row * 2 * width + width + i] = d * activate('silu', x1)
    }
  }
  return dx12
}

/** a + b, elementwise; both gradients are dy itself. */
export function add(a: NdArray, b: NdArray): NdArray {
  return sum(a, b)
}
