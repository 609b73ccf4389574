import { type NdArray, zeros } from './array.ts'

export interface Heads {
  readonly heads: number
  readonly width: number
}

/** Of a packed qkv [B, T, 3 H d]: the dot products of a query with all keys from `skipped` on, over √d. */
function scores(
  { shape, data }: NdArray,
  { heads, width }: Heads,
  b: number,
  h: number,
  t: number,
  skipped: number,
): number[] {
  const [, tokens] = shape
  const at = (token: number, part: number) => ((b * tokens + token) * 3 + part) * heads * width + h * width
  return Array.from({ length: tokens - skipped }, (_, s) => {
    let dot = 0
    for (let i = 0; i < width; i++) dot += data[at(skipped + t, 0) + i] * data[at(skipped + s, 1) + i]
    return dot / Math.sqrt(width)
  })
}

function softmax(values: readonly number[]): { p: number[]; lse: number } {
  const most = Math.max(...values)
  const lse = most + Math.log(values.reduce((sum, value) => sum + Math.exp(value - most), 0))
  return { p: values.map((value) => Math.exp(value - lse)), lse }
}

/** The mean over heads and queries of −Σ P* log P: [B]. */
export function attentionAlignment(qkv: NdArray, own: Heads, teacher: NdArray, its: Heads, aligned: number): NdArray {
  const [batch, tokens] = qkv.shape
  const skipped = teacher.shape[1] - tokens
  const loss = zeros([batch])
  for (let b = 0; b < batch; b++)
    for (let h = 0; h < aligned; h++)
      for (let t = 0; t < tokens; t++) {
        const s = scores(qkv, own, b, h, t, 0)
        const { lse } = softmax(s)
        const target = softmax(scores(teacher, its, b, h, t, skipped)).p
        loss.data[b] -= target.reduce((sum, p, i) => sum + p * (s[i]! - lse), 0) / (aligned * tokens)
      }
  return loss
}

/** Gradient of the mean over samples with regard to qkv, times dLoss. */
export function attentionAlignmentBackward(
  qkv: NdArray,
  own: Heads,
  teacher: NdArray,
  its: Heads,
  aligned: number,
  dLoss = 1,
): NdArray {
  const [batch, tokens] = qkv.shape
  const skipped = teacher.shape[1] - tokens
  const gradient = zeros(qkv.shape)
  const { heads, width } = own
  for (let b = 0; b < batch; b++)
    for (let h = 0; h < aligned; h++)
      for (let t = 0; t < tokens; t++) {
        const { p } = softmax(scores(qkv, own, b, h, t, 0))
        const target = softmax(scores(teacher, its, b, h, t, skipped)).p
        const at = (token: number, part: number) => ((b * tokens + token) * 3 + part) * heads * width + h * width
        for (let s = 0; s < tokens; s++) {
          const dS = ((p[s]! - target[s]!) * dLoss) / (batch * aligned * tokens * Math.sqrt(width))
          for (let i = 0; i < width; i++) {
            gradient.data[at(t, 0) + i] += dS * qkv.data[at(s, 1) + i]
            gradient.data[at(s, 1) + i] += dS * qkv.data[at(t, 0) + i]
          }
        }
      }
  return gradient
}
