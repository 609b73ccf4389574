import { attention, causalAttention } from '../../../src/tensor/ops/attention.ts'
import { map, type NdArray, reshape } from '../../reference/array.ts'
import * as reference from '../../reference/attention.ts'
import { LAMBDA, largestOf, type Rounding } from '../rounding.ts'
import { type OpCase, opCase } from './op-case.ts'

/** Of attention. */
export interface Sizes {
  readonly batch: number
  readonly tokens: number
  readonly heads: number
  readonly headDim: number
}

export const text = ({ batch, tokens, heads, headDim }: Sizes) =>
  `${batch} x ${tokens} tokens, ${heads} heads of ${headDim}`
export const packed = ({ batch, tokens, heads, headDim }: Sizes) => [batch, tokens, 3 * heads * headDim]
export const unpacked = ({ batch, tokens, heads, headDim }: Sizes) => [batch, tokens, 3, heads, headDim]

/**
 * A score S = q·k/√d errs at the norm A of its terms, and its exponential, whose argument is rounded too, by that much of itself: so
 * P carries the factor F = 1 + 2 (A + |S|), the 2 for the row's sum. With B the norm of the terms of dP = dO·v:
 * o, dV: the norm of P v (over keys) and P dO (over queries), times F;
 * dS = P (dP − Σ P dP) errs at D = P (B + |dP|) F, and dQ, dK at the norms of D k / √d and D q / √d.
 *
 * In bf16 and f16, besides, with u their unit roundoff and λ as in rounding.ts:
 * P is rounded before its products: o, dV err by λ u times the norms of P v and P dO.
 * dS is rounded before its products, by u |dS|. It contains δ = Σ P dP, taken as dO·o of an o that was formed of rounded P and then
 * rounded: δ errs by u E, E² = Σ P B² + Σ (P dP)², the first for o² ≤ Σ P v². All keys of a query have the same δ, so dQ errs by
 * u times the norm of dS k and E |Σ P k|, and dK by u times the norm, over queries, of dS q and P E q; both over √d.
 * Where softmax has picked one key, and its score, times log2 e / √d, is no rounding away from the row's shift (`largeScores`), o is its
 * v to the bit, and dS is 0.
 */
function attentionRounding(
  qkv: NdArray,
  dO: NdArray,
  { exactP = false, causal = false }: { exactP?: boolean; causal?: boolean },
): Record<string, Rounding> {
  const [batch, tokens, , heads, width] = qkv.shape
  const at = (b: number, t: number, part: number, h: number) => (((b * tokens + t) * 3 + part) * heads + h) * width
  const normAndDot = (a: Float64Array, i: number, b: Float64Array, j: number) => {
    let square = 0
    let dot = 0
    for (let c = 0; c < width; c++) {
      const term = a[i + c] * b[j + c]
      dot += term
      square += term * term
    }
    return { norm: Math.sqrt(square), dot }
  }
  const [q, k, v] = [0, 1, 2].map((part) =>
    largestOf(map(qkv, (x, i) => (Math.floor(i / (width * heads)) % 3 === part ? x : 0))),
  )
  const d = largestOf(dO)
  const scale = 1 / Math.sqrt(width)
  const out = { o: 0, dQkv: 0 }
  const rounded = { o: 0, dQkv: 0 }
  for (let b = 0; b < batch; b++) {
    for (let h = 0; h < heads; h++) {
      const overQueries = {
        p: new Float64Array(tokens),
        d: new Float64Array(tokens),
        rounded: new Float64Array(tokens),
      }
      const plain = new Float64Array(tokens)
      for (let t = 0; t < tokens; t++) {
        const scores = Array.from({ length: causal ? t + 1 : tokens }, (_, s) =>
          normAndDot(qkv.data, at(b, t, 0, h), qkv.data, at(b, s, 1, h)),
        )
        const dP = scores.map((_, s) =>
          normAndDot(dO.data, ((b * tokens + t) * heads + h) * width, qkv.data, at(b, s, 2, h)),
        )
        const most = scores.reduce((a, { dot }) => Math.max(a, dot * scale), Number.NEGATIVE_INFINITY)
        const exponentials = scores.map(({ dot }) => Math.exp(dot * scale - most))
        const total = exponentials.reduce((a, value) => a + value)
        const p = exponentials.map((value) => value / total)
        const f = exactP ? 1 : 1 + 2 * scale * scores.reduce((a, { norm, dot }) => Math.max(a, norm + Math.abs(dot)), 0)
        const steep = dP.reduce((a, { norm, dot }) => Math.max(a, norm + Math.abs(dot)), 0)
        const delta = dP.reduce((a, { dot }, s) => a + p[s] * dot, 0)
        const ofDelta = exactP
          ? 0
          : Math.sqrt(dP.reduce((a, { norm, dot }, s) => a + p[s] * norm ** 2 + (p[s] * dot) ** 2, 0))
        const sums = { p: 0, dS: 0 }
        const meanKey = new Float64Array(width)
        for (let s = 0; s < scores.length; s++) {
          const dS = exactP ? 0 : p[s] * (dP[s].dot - delta)
          sums.p += p[s] ** 2
          sums.dS += dS ** 2
          plain[s] += p[s] ** 2
          overQueries.p[s] += (p[s] * f) ** 2
          overQueries.d[s] += (p[s] * f * steep) ** 2
          overQueries.rounded[s] += dS ** 2 + (p[s] * ofDelta) ** 2
          for (let c = 0; c < width; c++) meanKey[c] += p[s] * qkv.data[at(b, s, 1, h) + c]
        }
        const ofKeys = meanKey.reduce((a, value) => Math.max(a, Math.abs(value)), 0)
        out.o = Math.max(out.o, f * Math.sqrt(sums.p) * v)
        out.dQkv = Math.max(out.dQkv, scale * f * Math.sqrt(sums.p) * steep * k)
        rounded.o = Math.max(rounded.o, Math.sqrt(sums.p) * v)
        rounded.dQkv = Math.max(rounded.dQkv, scale * Math.hypot(Math.sqrt(sums.dS) * k, ofDelta * ofKeys))
      }
      for (let s = 0; s < tokens; s++) {
        out.dQkv = Math.max(out.dQkv, Math.sqrt(overQueries.p[s]) * d, scale * Math.sqrt(overQueries.d[s]) * q)
        rounded.dQkv = Math.max(rounded.dQkv, Math.sqrt(plain[s]) * d, scale * Math.sqrt(overQueries.rounded[s]) * q)
      }
    }
  }
  // As many roundings of terms of `scale` as give the bounds above.
  const computeRoundings = (error: number, scale: number) => (scale > 0 ? (LAMBDA * error) / scale : 0)
  return {
    out: { roundings: tokens + width + 16, scale: out.o, computeRoundings: computeRoundings(rounded.o, out.o) },
    qkv: {
      roundings: 2 * (tokens + width) + 32,
      scale: out.dQkv,
      computeRoundings: computeRoundings(rounded.dQkv, out.dQkv),
    },
  }
}

/** Attention and its gradient of these packed queries, keys and values. */
export function attentionCase(sizes: Sizes, qkv: NdArray, like?: { name: string; exactP: boolean }): OpCase {
  return opCase({
    name: like ? `${text(sizes)}, ${like.name}` : text(sizes),
    inputs: { qkv: reshape(qkv, packed(sizes)) },
    compute: ['qkv'],
    op: (t) => attention(t.qkv, sizes.heads),
    forward: () => reference.attention(qkv).o,
    backward: (dO) => ({ qkv: reshape(reference.attentionBackward(dO, qkv), packed(sizes)) }),
    rounding: (dO) => attentionRounding(qkv, dO, { exactP: like?.exactP }),
  })
}

/** Causal attention of these packed queries, keys and values. */
export function causalAttentionCase(sizes: Sizes, qkv: NdArray, name?: string): OpCase {
  return opCase({
    name: name ? `${text(sizes)}, ${name}` : text(sizes),
    inputs: { qkv: reshape(qkv, packed(sizes)) },
    compute: ['qkv'],
    op: (t) => causalAttention(t.qkv, sizes.heads),
    forward: () => reference.causalAttention(qkv),
    rounding: (dO) => ({ out: attentionRounding(qkv, dO, { causal: true }).out! }),
  })
}
