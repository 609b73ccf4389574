import { type NdArray, zeros } from './array.ts'

/**
 * Sinusoidal features of t [B] -> [B, dim]: with half = floor(dim / 2) and freq_i = maxPeriod^(-i / half), the row is
 * [cos(t freq) | sin(t freq)], cosines first; an odd dim ends with a zero column.
 */
export function timestepEmbedding(t: NdArray, dim: number, maxPeriod = 10_000): NdArray {
  const half = Math.floor(dim / 2)
  const out = zeros([t.data.length, dim])
  for (let b = 0; b < t.data.length; b++) {
    for (let i = 0; i < half; i++) {
      const argument = t.data[b] * Math.exp((-Math.log(maxPeriod) * i) / half)
      out.data[b * dim + i] = Math.cos(argument)
      out.data[b * dim + half + i] = Math.sin(argument)
    }
  }
  return out
}
