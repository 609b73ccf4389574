import { type NdArray, zeros } from './array.ts'

/** torch.nn.GroupNorm of x [N, P, C], channels last, before any activation. */
export function groupNorm(x: NdArray, weight: NdArray, bias: NdArray, groups: number, epsilon: number): NdArray {
  const [count, pixels, channels] = x.shape as [number, number, number]
  const width = channels / groups
  const out = zeros(x.shape)
  for (let n = 0; n < count; n++) {
    for (let g = 0; g < groups; g++) {
      const indices: number[] = []
      for (let p = 0; p < pixels; p++) {
        for (let c = g * width; c < (g + 1) * width; c++) indices.push((n * pixels + p) * channels + c)
      }
      const mean = indices.reduce((sum, i) => sum + x.data[i]!, 0) / indices.length
      const variance = indices.reduce((sum, i) => sum + (x.data[i]! - mean) ** 2, 0) / indices.length
      const rstd = 1 / Math.sqrt(variance + epsilon)
      for (const i of indices) {
        const c = i % channels
        out.data[i] = (x.data[i]! - mean) * rstd * weight.data[c]! + bias.data[c]!
      }
    }
  }
  return out
}

/** x · sigmoid(x). */
export const silu = (value: number): number => value / (1 + Math.exp(-value))
