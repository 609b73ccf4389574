import { type NdArray, zeros } from './array.ts'
import type { ModulationChunks } from './layer-norm.ts'

/** Of a row x: 1 / sqrt(mean(x²) + eps). */
function inverseRms(row: Float64Array, eps: number): number {
  return 1 / Math.sqrt(row.reduce((total, value) => total + value * value, 0) / row.length + eps)
}

/** Rows of the last axis. */
function* rowsOf({ shape, data }: NdArray): Generator<{ start: number; row: Float64Array }> {
  const width = shape.at(-1)!
  for (let start = 0; start < data.length; start += width) yield { start, row: data.subarray(start, start + width) }
}

/** x / rms(x), over the last axis. */
export function rmsNormalize(x: NdArray, eps: number): NdArray {
  const out = zeros(x.shape)
  for (const { start, row } of rowsOf(x)) {
    const scale = inverseRms(row, eps)
    for (const [i, value] of row.entries()) out.data[start + i] = value * scale
  }
  return out
}

/** dx_j = s g_j − s³ x_j mean(g x), s = 1 / rms(x): the derivative of s x_i by x_j is s δ_ij − s³ x_i x_j / D. */
export function rmsNormalizeBackward(g: NdArray, x: NdArray, eps: number): NdArray {
  const dx = zeros(x.shape)
  for (const { start, row } of rowsOf(x)) {
    const scale = inverseRms(row, eps)
    const mean = row.reduce((total, value, i) => total + value * g.data[start + i], 0) / row.length
    for (const [i, value] of row.entries()) dx.data[start + i] = scale * g.data[start + i] - scale ** 3 * value * mean
  }
  return dx
}

/** y = x / rms(x) · factor + shift, the factor being the chunk `scale`; x [B, T, D], modulation [B, chunks, D]. */
export function rmsNormModulate(x: NdArray, modulation: NdArray, at: ModulationChunks, eps = 1e-6): NdArray {
  const y = rmsNormalize(x, eps)
  eachElement(x, modulation, at, (element, shift, factor) => {
    y.data[element] = y.data[element] * modulation.data[factor] + modulation.data[shift]
  })
  return y
}

/** Gradients of `rmsNormModulate`; dModulation is zero outside the two chunks. */
export function rmsNormModulateBackward(
  dy: NdArray,
  x: NdArray,
  modulation: NdArray,
  at: ModulationChunks,
  eps = 1e-6,
): { dx: NdArray; dModulation: NdArray } {
  const normed = rmsNormalize(x, eps)
  const dNormed = zeros(x.shape)
  const dModulation = zeros(modulation.shape)
  eachElement(x, modulation, at, (element, shift, factor) => {
    dNormed.data[element] = dy.data[element] * modulation.data[factor]
    dModulation.data[shift] += dy.data[element]
    dModulation.data[factor] += dy.data[element] * normed.data[element]
  })
  return { dx: rmsNormalizeBackward(dNormed, x, eps), dModulation }
}

function eachElement(
  x: NdArray,
  modulation: NdArray,
  at: ModulationChunks,
  body: (element: number, shift: number, factor: number) => void,
): void {
  const [, tokens, width] = x.shape
  const chunks = modulation.shape[1]
  for (let element = 0; element < x.data.length; element++) {
    const sample = Math.floor(element / (tokens * width)) * chunks
    const column = element % width
    body(element, (sample + at.shift) * width + column, (sample + at.scale) * width + column)
  }
}

/** A modulation [B, 3N − 1, D] whose chunks 3n + 1 are weights[n] (1 + chunk). */
export function normFactors(modulation: NdArray, weights: NdArray): NdArray {
  const out = zeros(modulation.shape)
  out.data.set(modulation.data)
  eachScale(modulation, (element, weight) => {
    out.data[element] = weights.data[weight] * (1 + modulation.data[element])
  })
  return out
}

export function normFactorsBackward(
  dy: NdArray,
  modulation: NdArray,
  weights: NdArray,
): { dModulation: NdArray; dWeights: NdArray } {
  const dModulation = zeros(modulation.shape)
  dModulation.data.set(dy.data)
  const dWeights = zeros(weights.shape)
  eachScale(modulation, (element, weight) => {
    dWeights.data[weight] += dy.data[element] * (1 + modulation.data[element])
    dModulation.data[element] = dy.data[element] * weights.data[weight]
  })
  return { dModulation, dWeights }
}

function eachScale({ shape, data }: NdArray, body: (element: number, weight: number) => void): void {
  const [, chunks, width] = shape
  for (let element = 0; element < data.length; element++) {
    const chunk = Math.floor(element / width) % chunks
    if (chunk % 3 === 1) body(element, Math.floor(chunk / 3) * width + (element % width))
  }
}
