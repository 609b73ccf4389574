import { type NdArray, zeros } from './array.ts'

/** Mean and 1 / sqrt(variance + eps) of `width` elements from `start`; the variance is the biased one, as PyTorch's. */
function statistics(x: Float64Array, start: number, width: number, eps: number): { mean: number; rstd: number } {
  let mean = 0
  for (let i = 0; i < width; i++) mean += x[start + i] / width
  let variance = 0
  for (let i = 0; i < width; i++) variance += (x[start + i] - mean) ** 2 / width
  return { mean, rstd: 1 / Math.sqrt(variance + eps) }
}

/** xhat = (x - mean) / sqrt(var + eps) over the last axis. */
export function normalizeRows(x: NdArray, eps: number): NdArray {
  const width = x.shape.at(-1)!
  const xhat = zeros(x.shape)
  for (let start = 0; start < x.data.length; start += width) {
    const { mean, rstd } = statistics(x.data, start, width, eps)
    for (let i = 0; i < width; i++) xhat.data[start + i] = (x.data[start + i] - mean) * rstd
  }
  return xhat
}

/** dx = rstd (g - mean(g) - xhat mean(g xhat)), where g is the gradient with regard to xhat. */
export function normalizeRowsBackward(dXhat: NdArray, x: NdArray, eps: number): NdArray {
  const width = x.shape.at(-1)!
  const dx = zeros(x.shape)
  for (let start = 0; start < x.data.length; start += width) {
    const { mean, rstd } = statistics(x.data, start, width, eps)
    let meanG = 0
    let meanGXhat = 0
    for (let i = 0; i < width; i++) {
      const xhat = (x.data[start + i] - mean) * rstd
      meanG += dXhat.data[start + i] / width
      meanGXhat += (dXhat.data[start + i] * xhat) / width
    }
    for (let i = 0; i < width; i++) {
      const xhat = (x.data[start + i] - mean) * rstd
      dx.data[start + i] = rstd * (dXhat.data[start + i] - meanG - xhat * meanGXhat)
    }
  }
  return dx
}

/** y = xhat * weight + bias; x [..., D], weight and bias [D]. */
export function layerNorm(x: NdArray, weight: NdArray, bias: NdArray, eps: number): NdArray {
  const width = x.shape.at(-1)!
  const xhat = normalizeRows(x, eps)
  const y = zeros(x.shape)
  for (let i = 0; i < y.data.length; i++) y.data[i] = xhat.data[i] * weight.data[i % width] + bias.data[i % width]
  return y
}

export function layerNormBackward(
  dy: NdArray,
  x: NdArray,
  weight: NdArray,
  eps: number,
): { dx: NdArray; dWeight: NdArray; dBias: NdArray } {
  const width = x.shape.at(-1)!
  const xhat = normalizeRows(x, eps)
  const dXhat = zeros(x.shape)
  const dWeight = zeros([width])
  const dBias = zeros([width])
  for (let i = 0; i < dy.data.length; i++) {
    dXhat.data[i] = dy.data[i] * weight.data[i % width]
    dWeight.data[i % width] += dy.data[i] * xhat.data[i]
    dBias.data[i % width] += dy.data[i]
  }
  return { dx: normalizeRowsBackward(dXhat, x, eps), dWeight, dBias }
}

/** Which chunks of a modulation tensor [B, chunks, D] hold shift and scale. */
export interface ModulationChunks {
  readonly shift: number
  readonly scale: number
}

/** adaLN: y = xhat (1 + scale) + shift; x [B, T, D], modulation [B, chunks, D], the same for all tokens of a sample. */
export function layerNormModulate(x: NdArray, modulation: NdArray, at: ModulationChunks, eps = 1e-6): NdArray {
  const [batch, tokens, width] = x.shape
  const chunks = modulation.shape[1]
  const xhat = normalizeRows(x, eps)
  const y = zeros(x.shape)
  for (let b = 0; b < batch; b++) {
    for (let t = 0; t < tokens; t++) {
      for (let i = 0; i < width; i++) {
        const shift = modulation.data[(b * chunks + at.shift) * width + i]
        const scale = modulation.data[(b * chunks + at.scale) * width + i]
        const element = (b * tokens + t) * width + i
        y.data[element] = xhat.data[element] * (1 + scale) + shift
      }
    }
  }
  return y
}

/** Gradients of `layerNormModulate`; dModulation is zero outside the two chunks. */
export function layerNormModulateBackward(
  dy: NdArray,
  x: NdArray,
  modulation: NdArray,
  at: ModulationChunks,
  eps = 1e-6,
): { dx: NdArray; dModulation: NdArray } {
  const [batch, tokens, width] = x.shape
  const chunks = modulation.shape[1]
  const xhat = normalizeRows(x, eps)
  const dXhat = zeros(x.shape)
  const dModulation = zeros(modulation.shape)
  for (let b = 0; b < batch; b++) {
    for (let t = 0; t < tokens; t++) {
      for (let i = 0; i < width; i++) {
        const scale = modulation.data[(b * chunks + at.scale) * width + i]
        const element = (b * tokens + t) * width + i
        dXhat.data[element] = dy.data[element] * (1 + scale)
        dModulation.data[(b * chunks + at.shift) * width + i] += dy.data[element]
        dModulation.data[(b * chunks + at.scale) * width + i] += dy.data[element] * xhat.data[element]
      }
    }
  }
  return { dx: normalizeRowsBackward(dXhat, x, eps), dModulation }
}
