import type { Norm } from '../../../src/native.ts'
import type { NdArray } from '../../reference/array.ts'
import type { Rounding } from '../rounding.ts'

/**
 * x̂ = (x − mean) · rstd: the mean is rounded at the magnitude of x, so x̂ errs at that of x · rstd; then rstd's own error, and
 * dx = rstd (g − mean g − x̂ mean(g x̂)) of that x̂. An RMSNorm has no means. `factor` is what x̂ is multiplied by, `rows` how many a gradient sums over.
 */
export function layerNormRounding(
  x: NdArray,
  epsilon: number,
  factor: number,
  offset: number,
  rows: number,
  d: number,
  norm: Norm = 'layerNorm',
) {
  const width = x.shape.at(-1)!
  const roundings = 2 * width + 16
  let xhat = 0
  let rstd = 0
  for (let start = 0; start < x.data.length; start += width) {
    const row = x.data.subarray(start, start + width)
    const mean = norm === 'rmsNorm' ? 0 : row.reduce((a, b) => a + b, 0) / width
    const scale = 1 / Math.sqrt(row.reduce((a, b) => a + (b - mean) ** 2, 0) / width + epsilon)
    const largest = row.reduce((a, b) => Math.max(a, Math.abs(b)), 0)
    rstd = Math.max(rstd, scale)
    xhat = Math.max(xhat, largest * scale)
  }
  const sum = (scale: number): Rounding => ({ roundings: roundings + rows, scale: Math.sqrt(rows) * scale })
  return {
    out: { roundings, scale: factor * xhat + offset },
    x: { roundings, scale: rstd * d * factor * (2 + xhat) },
    dFactor: sum(d * xhat),
    dOffset: sum(d),
  }
}
