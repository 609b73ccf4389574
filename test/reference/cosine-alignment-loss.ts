import { type NdArray, zeros } from './array.ts'

/** The floor under a norm in `torch.nn.functional.normalize`. */
const NORM_FLOOR = 1e-12

/** REPA's alignment with one encoder: the mean over all rows of -cos(z, target); z and target [..., Z]. */
export function cosineAlignmentLoss(z: NdArray, target: NdArray): number {
  const width = z.shape.at(-1)!
  const rows = z.data.length / width
  let loss = 0
  for (let row = 0; row < rows; row++) {
    const zNorm = Math.max(norm(z, row), NORM_FLOOR)
    const targetNorm = Math.max(norm(target, row), NORM_FLOOR)
    loss -= dot(z, target, row) / (zNorm * targetNorm) / rows
  }
  return loss
}

/**
 * Gradient with regard to z, times dLoss: per row -(that - cos zhat) / (|z| rows), where zhat and that are the unit
 * vectors. Under the floor the norm is a constant, so the second term falls away.
 */
export function cosineAlignmentLossBackward(z: NdArray, target: NdArray, dLoss = 1): NdArray {
  const width = z.shape.at(-1)!
  const rows = z.data.length / width
  const dz = zeros(z.shape)
  for (let row = 0; row < rows; row++) {
    const zNorm = Math.max(norm(z, row), NORM_FLOOR)
    const targetNorm = Math.max(norm(target, row), NORM_FLOOR)
    const cosine = norm(z, row) < NORM_FLOOR ? 0 : dot(z, target, row) / (zNorm * targetNorm)
    for (let i = row * width; i < (row + 1) * width; i++) {
      dz.data[i] = (-dLoss * (target.data[i] / targetNorm - (cosine * z.data[i]) / zNorm)) / (zNorm * rows)
    }
  }
  return dz
}

function dot(a: NdArray, b: NdArray, row: number): number {
  const width = a.shape.at(-1)!
  let total = 0
  for (let i = row * width; i < (row + 1) * width; i++) total += a.data[i] * b.data[i]
  return total
}

function norm(a: NdArray, row: number): number {
  return Math.sqrt(dot(a, a, row))
}
