import { type NdArray, zeros } from './array.ts'

/** x + gate * y: x and y [B, T, D]; gate is chunk `gateChunk` of modulation [B, chunks, D], the same for all tokens. */
export function gatedResidual(x: NdArray, y: NdArray, modulation: NdArray, gateChunk: number): NdArray {
  const [batch, tokens, width] = x.shape
  const chunks = modulation.shape[1]
  const out = zeros(x.shape)
  for (let b = 0; b < batch; b++) {
    for (let t = 0; t < tokens; t++) {
      for (let i = 0; i < width; i++) {
        const element = (b * tokens + t) * width + i
        out.data[element] = x.data[element] + modulation.data[(b * chunks + gateChunk) * width + i] * y.data[element]
      }
    }
  }
  return out
}

/** Gradients of `gatedResidual`; that of x is dOut itself, and dModulation is zero outside the gate's chunk. */
export function gatedResidualBackward(
  dOut: NdArray,
  y: NdArray,
  modulation: NdArray,
  gateChunk: number,
): { dx: NdArray; dy: NdArray; dModulation: NdArray } {
  const [batch, tokens, width] = y.shape
  const chunks = modulation.shape[1]
  const dy = zeros(y.shape)
  const dModulation = zeros(modulation.shape)
  for (let b = 0; b < batch; b++) {
    for (let t = 0; t < tokens; t++) {
      for (let i = 0; i < width; i++) {
        const element = (b * tokens + t) * width + i
        const gate = (b * chunks + gateChunk) * width + i
        dy.data[element] = dOut.data[element] * modulation.data[gate]
        dModulation.data[gate] += dOut.data[element] * y.data[element]
      }
    }
  }
  return { dx: dOut, dy, dModulation }
}

/** DINOv2's LayerScale: x + gamma * y, gamma [D] learnt and shared by all rows. */
export function layerScale(x: NdArray, y: NdArray, gamma: NdArray): NdArray {
  const width = gamma.data.length
  const out = zeros(x.shape)
  for (let i = 0; i < out.data.length; i++) out.data[i] = x.data[i] + gamma.data[i % width] * y.data[i]
  return out
}

export function layerScaleBackward(
  dOut: NdArray,
  y: NdArray,
  gamma: NdArray,
): { dx: NdArray; dy: NdArray; dGamma: NdArray } {
  const width = gamma.data.length
  const dy = zeros(y.shape)
  const dGamma = zeros(gamma.shape)
  for (let i = 0; i < dOut.data.length; i++) {
    dy.data[i] = dOut.data[i] * gamma.data[i % width]
    dGamma.data[i % width] += dOut.data[i] * y.data[i]
  }
  return { dx: dOut, dy, dGamma }
}
