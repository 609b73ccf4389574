import { type NdArray, zeros } from './array.ts'

/**
 * Multi-head self-attention on packed projections. qkv [B, T, 3, H, d]; S = d^(-1/2) q kᵀ, P = softmax(S) over keys,
 * o = P v as [B, T, H * d], lse = log sum exp of each row of S as [B, H, T].
 */
export function attention(qkv: NdArray): { o: NdArray; lse: NdArray } {
  const [batch, tokens, , heads, width] = qkv.shape
  const o = zeros([batch, tokens, heads * width])
  const lse = zeros([batch, heads, tokens])
  for (let b = 0; b < batch; b++) {
    for (let h = 0; h < heads; h++) {
      for (let t = 0; t < tokens; t++) {
        const row = softmaxRow(qkv, b, h, t)
        lse.data[(b * heads + h) * tokens + t] = row.lse
        const out = ((b * tokens + t) * heads + h) * width
        for (let s = 0; s < tokens; s++) {
          const v = at(qkv, b, s, V, h)
          for (let i = 0; i < width; i++) o.data[out + i] += row.p[s] * qkv.data[v + i]
        }
      }
    }
  }
  return { o, lse }
}

/** The same o where token t sees tokens 0 to t alone. */
export function causalAttention(qkv: NdArray): NdArray {
  const [batch, tokens, , heads, width] = qkv.shape
  const o = zeros([batch, tokens, heads * width])
  for (let b = 0; b < batch; b++) {
    for (let h = 0; h < heads; h++) {
      for (let t = 0; t < tokens; t++) {
        const { p } = softmaxRow(qkv, b, h, t, t + 1)
        const out = ((b * tokens + t) * heads + h) * width
        for (const [s, weight] of p.entries()) {
          const v = at(qkv, b, s, V, h)
          for (let i = 0; i < width; i++) o.data[out + i] += weight * qkv.data[v + i]
        }
      }
    }
  }
  return o
}

/**
 * Gradient with regard to qkv: dV = Pᵀ dO, dP = dO vᵀ, dS = P * (dP - rowsum(P * dP)), dQ = d^(-1/2) dS k,
 * dK = d^(-1/2) dSᵀ q.
 */
export function attentionBackward(dO: NdArray, qkv: NdArray): NdArray {
  const [batch, tokens, , heads, width] = qkv.shape
  const scale = 1 / Math.sqrt(width)
  const dQkv = zeros(qkv.shape)
  for (let b = 0; b < batch; b++) {
    for (let h = 0; h < heads; h++) {
      for (let t = 0; t < tokens; t++) {
        const { p } = softmaxRow(qkv, b, h, t)
        const dP = new Float64Array(tokens)
        const [q, out] = [at(qkv, b, t, Q, h), ((b * tokens + t) * heads + h) * width]
        let rowSum = 0
        for (let s = 0; s < tokens; s++) {
          const v = at(qkv, b, s, V, h)
          let dot = 0
          for (let i = 0; i < width; i++) {
            const d = dO.data[out + i]
            dot += d * qkv.data[v + i]
            dQkv.data[v + i] += p[s] * d
          }
          dP[s] = dot
          rowSum += p[s] * dot
        }
        for (let s = 0; s < tokens; s++) {
          const dS = p[s] * (dP[s] - rowSum)
          const k = at(qkv, b, s, K, h)
          for (let i = 0; i < width; i++) {
            dQkv.data[q + i] += scale * dS * qkv.data[k + i]
            dQkv.data[k + i] += scale * dS * qkv.data[q + i]
          }
        }
      }
    }
  }
  return dQkv
}

const Q = 0
const K = 1
const V = 2

function at(qkv: NdArray, b: number, t: number, part: number, h: number): number {
  const [, tokens, , heads, width] = qkv.shape
  return (((b * tokens + t) * 3 + part) * heads + h) * width
}

// Row t of P over the first so many keys, and the logarithm of its denominator.
function softmaxRow(
  qkv: NdArray,
  b: number,
  h: number,
  t: number,
  keys = qkv.shape[1]!,
): { p: Float64Array; lse: number } {
  const width = qkv.shape[4]!
  const s = new Float64Array(keys)
  const q = at(qkv, b, t, Q, h)
  for (let key = 0; key < keys; key++) {
    const k = at(qkv, b, key, K, h)
    let dot = 0
    for (let i = 0; i < width; i++) dot += qkv.data[q + i] * qkv.data[k + i]
    s[key] = dot / Math.sqrt(width)
  }
  const max = s.reduce((a, c) => Math.max(a, c))
  const total = s.reduce((a, c) => a + Math.exp(c - max), 0)
  return { p: s.map((value) => Math.exp(value - max) / total), lse: max + Math.log(total) }
}
