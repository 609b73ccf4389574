import { attention, type QkNormWeights, qkNorm } from '../../../src/tensor/ops/attention.ts'
import { map, type NdArray, reshape, zeros } from '../../reference/array.ts'
import * as reference from '../../reference/attention.ts'
import * as normReference from '../../reference/qk-norm.ts'
import { LAMBDA, largestOf, type Rounding } from '../rounding.ts'
import { type Draw, type OpCase, opCase, testOps } from './op-case.ts'

interface Sizes {
  readonly batch: number
  readonly tokens: number
  readonly heads: number
  readonly headDim: number
}

const text = ({ batch, tokens, heads, headDim }: Sizes) => `${batch} x ${tokens} tokens, ${heads} heads of ${headDim}`
const packed = ({ batch, tokens, heads, headDim }: Sizes) => [batch, tokens, 3 * heads * headDim]
const unpacked = ({ batch, tokens, heads, headDim }: Sizes) => [batch, tokens, 3, heads, headDim]

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
function attentionRounding(qkv: NdArray, dO: NdArray, exactP: boolean): Record<string, Rounding> {
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
        const scores = Array.from({ length: tokens }, (_, s) =>
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
        for (let s = 0; s < tokens; s++) {
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

function attentionCase(sizes: Sizes, qkv: NdArray, like?: { name: string; exactP: boolean }): OpCase {
  return opCase({
    name: like ? `${text(sizes)}, ${like.name}` : text(sizes),
    inputs: { qkv: reshape(qkv, packed(sizes)) },
    compute: ['qkv'],
    op: (t) => attention(t.qkv, sizes.heads),
    forward: () => reference.attention(qkv).o,
    backward: (dO) => ({ qkv: reshape(reference.attentionBackward(dO, qkv), packed(sizes)) }),
    rounding: (dO) => attentionRounding(qkv, dO, like?.exactP ?? false),
  })
}

/**
 * Scores of ±2^13 of which each query's largest is far from the rest: every query meets one key of its own direction, a unit axis. They
 * are powers of two, so that their products with log2 e / √d are exact, and P is 0 or 1 whether or not a kernel fuses that product with the
 * subtraction behind it. Of 3 · 2^12 the fused difference from the row's shift would be half a unit in the last place of 17,728, the
 * exponential 1.0007, and an o in f16 one rounding off v.
 */
function largeScores(draw: Draw, sizes: Sizes): NdArray {
  const { tokens, headDim } = sizes
  const qkv = draw(unpacked(sizes), 3)
  // 2^8 for 16 columns: any dtype holds it.
  const magnitude = 2 ** Math.round(Math.log2(Math.sqrt(1e4 * Math.sqrt(headDim))))
  const [, , , heads, width] = qkv.shape
  for (let row = 0; row < qkv.data.length / width; row++) {
    const token = Math.floor(row / (3 * heads)) % tokens
    const part = Math.floor(row / heads) % 3
    if (part === 2) continue
    for (let i = 0; i < width; i++) {
      // q·k is 1 - 1/2 where the axes meet, and else -1/2.
      const own = i === (part === 0 ? (token + 1) % tokens : token) ? 1 : 0
      const shared = i === width - 1 ? (part === 0 ? -1 : 0.5) : 0
      qkv.data[row * width + i] = (own + shared) * magnitude
    }
  }
  return qkv
}

const LARGE: Sizes = { batch: 2, tokens: 9, heads: 3, headDim: 16 }

/** Values that are not zero only in the last 8 columns, or queries and keys that are only there: what a kernel that stops at 64 loses. */
function onlyLastColumns(draw: Draw, sizes: Sizes, parts: readonly number[]): NdArray {
  const { heads, headDim } = sizes
  return map(draw(unpacked(sizes), 5, 2), (value, i) =>
    i % headDim < headDim - 8 && parts.includes(Math.floor(i / (headDim * heads)) % 3) ? 0 : value,
  )
}

/**
 * What the kernels of a GPU take in different ways: head_dim 64, 72 and 80, a whole head in shared memory or streamed; and of five heads on
 * the shim's two multiprocessors three one after the other, in memory that has been used before.
 */
const SIZES: readonly Sizes[] = [
  { batch: 1, tokens: 1, heads: 1, headDim: 1 },
  { batch: 1, tokens: 1, heads: 2, headDim: 72 },
  { batch: 2, tokens: 3, heads: 3, headDim: 72 },
  { batch: 2, tokens: 3, heads: 1, headDim: 64 },
  { batch: 1, tokens: 3, heads: 2, headDim: 80 },
  { batch: 1, tokens: 17, heads: 1, headDim: 128 },
  { batch: 3, tokens: 31, heads: 2, headDim: 5 },
  { batch: 1, tokens: 33, heads: 3, headDim: 24 },
  { batch: 1, tokens: 70, heads: 1, headDim: 48 },
  { batch: 1, tokens: 65, heads: 2, headDim: 96 },
  { batch: 1, tokens: 64, heads: 2, headDim: 64 },
  { batch: 1, tokens: 64, heads: 1, headDim: 80 },
  { batch: 1, tokens: 128, heads: 1, headDim: 72 },
  { batch: 5, tokens: 129, heads: 1, headDim: 72 },
  { batch: 1, tokens: 130, heads: 2, headDim: 33 },
  { batch: 1, tokens: 161, heads: 5, headDim: 64 },
  { batch: 1, tokens: 255, heads: 1, headDim: 72 },
  { batch: 1, tokens: 256, heads: 5, headDim: 72 },
  { batch: 5, tokens: 256, heads: 1, headDim: 64 },
  { batch: 1, tokens: 257, heads: 5, headDim: 64 },
  { batch: 1, tokens: 257, heads: 1, headDim: 72 },
  { batch: 1, tokens: 257, heads: 1, headDim: 80 },
  { batch: 2, tokens: 257, heads: 1, headDim: 7 },
  { batch: 1, tokens: 300, heads: 1, headDim: 72 },
  { batch: 1, tokens: 515, heads: 1, headDim: 3 },
]

testOps('attention', (draw) => [
  ...SIZES.map((sizes) => attentionCase(sizes, draw(unpacked(sizes), 1))),
  ...[3, 130].flatMap((tokens) =>
    [[2], [0, 1]].map((parts) => {
      const sizes = { batch: 1, tokens, heads: 2, headDim: 72 }
      return attentionCase(sizes, onlyLastColumns(draw, sizes, parts), {
        name: `${parts[0] === 2 ? 'values' : 'queries and keys'} in the last 8 columns alone`,
        exactP: false,
      })
    }),
  ),
  attentionCase({ batch: 1, tokens: 131, heads: 2, headDim: 8 }, draw([1, 131, 3, 2, 8], 4, 3), {
    name: 'scores of several units',
    exactP: false,
  }),
  attentionCase(LARGE, largeScores(draw, LARGE), { name: 'scores of 2^13', exactP: true }),
  attentionCase({ batch: 1, tokens: 5, heads: 1, headDim: 8 }, zeros([1, 5, 3, 1, 8]), {
    name: 'zeros',
    exactP: false,
  }),
])

const WEIGHTS = ['qWeight', 'qBias', 'kWeight', 'kBias'] as const

function qkNormCase(draw: Draw, sizes: Sizes, epsilon?: number): OpCase {
  const qkv = draw(unpacked(sizes), 1, 2)
  const [qWeight, qBias, kWeight, kBias] = WEIGHTS.map((_, i) => draw([sizes.headDim], 2 + i))
  const weights = { qWeight, qBias, kWeight, kBias }
  return opCase({
    name: `${text(sizes)}${epsilon ? `, epsilon ${epsilon}` : ''}`,
    inputs: { qkv: reshape(qkv, packed(sizes)), ...weights },
    compute: ['qkv'],
    op: (t) => qkNorm(t.qkv!, t as unknown as QkNormWeights, sizes.heads, epsilon),
    forward: () => reshape(normReference.qkNorm(qkv, weights, epsilon), packed(sizes)),
    backward: (dOut) => {
      const d = normReference.qkNormBackward(reshape(dOut, unpacked(sizes)), qkv, weights, epsilon)
      const { dqWeight, dqBias, dkWeight, dkBias } = d
      return { qkv: reshape(d.dQkv, packed(sizes)), qWeight: dqWeight, qBias: dqBias, kWeight: dkWeight, kBias: dkBias }
    },
    rounding: (dOut) => {
      const { headDim } = sizes
      const rows = sizes.batch * sizes.tokens * sizes.heads
      // As for layer-norm.test.ts: x̂ errs at the magnitude of x · rstd.
      let rstd = 0
      for (let start = 0; start < qkv.data.length; start += headDim) {
        if (Math.floor(start / (headDim * sizes.heads)) % 3 === 2) continue
        const row = qkv.data.subarray(start, start + headDim)
        const mean = row.reduce((a, b) => a + b, 0) / headDim
        rstd = Math.max(rstd, 1 / Math.sqrt(row.reduce((a, b) => a + (b - mean) ** 2, 0) / headDim + (epsilon ?? 1e-5)))
      }
      const xhat = rstd * largestOf(qkv)
      const d = largestOf(dOut)
      const roundings = 2 * headDim + 16
      const factor = Math.max(largestOf(qWeight), largestOf(kWeight))
      const weight = { roundings: roundings + rows, scale: Math.sqrt(rows) * d * xhat }
      const bias = { roundings: roundings + rows, scale: Math.sqrt(rows) * d }
      return {
        out: { roundings, scale: factor * xhat + Math.max(largestOf(qBias), largestOf(kBias)) },
        qkv: { roundings, scale: rstd * d * factor * (2 + xhat) },
        qWeight: weight,
        kWeight: weight,
        qBias: bias,
        kBias: bias,
      }
    },
  })
}

testOps('qkNorm', (draw) => [
  qkNormCase(draw, { batch: 1, tokens: 1, heads: 1, headDim: 72 }),
  qkNormCase(draw, { batch: 2, tokens: 3, heads: 2, headDim: 72 }),
  qkNormCase(draw, { batch: 1, tokens: 257, heads: 1, headDim: 33 }, 1e-6),
  qkNormCase(draw, { batch: 3, tokens: 5, heads: 1, headDim: 128 }),
  qkNormCase(draw, { batch: 1, tokens: 65, heads: 2, headDim: 16 }),
])
