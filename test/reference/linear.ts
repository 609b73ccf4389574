import { type Activation, activation, activationBackward } from './activation.ts'
import { type NdArray, zeros } from './array.ts'

/** y = act(x Wᵀ + b): x [..., in], weight [out, in], bias [out] or none, y [..., out]. */
export function linear(x: NdArray, weight: NdArray, bias: NdArray | undefined, act: Activation = 'none'): NdArray {
  const [outputs, inputs] = weight.shape
  const rows = x.data.length / inputs
  const y = zeros([...x.shape.slice(0, -1), outputs])
  for (let row = 0; row < rows; row++) {
    for (let o = 0; o < outputs; o++) {
      let dot = bias ? bias.data[o] : 0
      for (let i = 0; i < inputs; i++) dot += x.data[row * inputs + i] * weight.data[o * inputs + i]
      y.data[row * outputs + o] = dot
    }
  }
  return activation(y, act)
}

/** Gradients of `linear`: with g = dy * act'(x Wᵀ + b), dx = g W, dWeight = gᵀ x, dBias = sum of g over rows. */
export function linearBackward(
  dy: NdArray,
  x: NdArray,
  weight: NdArray,
  bias: NdArray | undefined,
  act: Activation = 'none',
): { dx: NdArray; dWeight: NdArray; dBias: NdArray } {
  const [outputs, inputs] = weight.shape
  const rows = x.data.length / inputs
  const g = act === 'none' ? dy : activationBackward(dy, linear(x, weight, bias), act)
  const dx = zeros(x.shape)
  const dWeight = zeros(weight.shape)
  const dBias = zeros([outputs])
  for (let row = 0; row < rows; row++) {
    for (let o = 0; o < outputs; o++) {
      const d = g.data[row * outputs + o]
      dBias.data[o] += d
      for (let i = 0; i < inputs; i++) {
        dx.data[row * inputs + i] += d * weight.data[o * inputs + i]
        dWeight.data[o * inputs + i] += d * x.data[row * inputs + i]
      }
    }
  }
  return { dx, dWeight, dBias }
}
