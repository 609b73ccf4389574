import { attention, type QkNormWeights, qkNorm } from '../../../src/tensor/ops/attention.ts'
import { type NdArray, random, reshape, zeros } from '../../reference/array.ts'
import * as reference from '../../reference/attention.ts'
import * as normReference from '../../reference/qk-norm.ts'
import { largestOf, type Rounding } from '../rounding.ts'
import { type OpCase, opCase, testOps } from './op-case.ts'

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
  const out = { o: 0, dQkv: 0 }
  const scale = 1 / Math.sqrt(width)
  const v = largestOf(qkv)
  for (let b = 0; b < batch; b++) {
    for (let h = 0; h < heads; h++) {
      const overQueries = { p: new Float64Array(tokens), d: new Float64Array(tokens) }
      for (let t = 0; t < tokens; t++) {
        const scores = Array.from({ length: tokens }, (_, s) =>
          normAndDot(qkv.data, at(b, t, 0, h), qkv.data, at(b, s, 1, h)),
        )
        const dP = scores.map((_, s) =>
          normAndDot(dO.data, ((b * tokens + t) * heads + h) * width, qkv.data, at(b, s, 2, h)),
        )
        const most = scores.reduce((a, { dot }) => Math.max(a, dot * scale), Number.NEGATIVE_INFINITY)
        const p = scores.map(({ dot }) => Math.exp(dot * scale - most))
        const total = p.reduce((a, value) => a + value)
        const f = exactP ? 1 : 1 + 2 * scale * scores.reduce((a, { norm, dot }) => Math.max(a, norm + Math.abs(dot)), 0)
        const steep = dP.reduce((a, { norm, dot }) => Math.max(a, norm + Math.abs(dot)), 0)
        let pSquares = 0
        for (let s = 0; s < tokens; s++) {
          const share = (p[s] / total) * f
          pSquares += share ** 2
          overQueries.p[s] += share ** 2
          overQueries.d[s] += (share * steep) ** 2
        }
        out.o = Math.max(out.o, Math.sqrt(pSquares) * v)
        out.dQkv = Math.max(out.dQkv, scale * Math.sqrt(pSquares) * steep * v)
      }
      for (let s = 0; s < tokens; s++) {
        out.dQkv = Math.max(
          out.dQkv,
          Math.sqrt(overQueries.p[s]) * largestOf(dO),
          scale * Math.sqrt(overQueries.d[s]) * v,
        )
      }
    }
  }
  return {
    out: { roundings: tokens + width + 16, scale: out.o },
    qkv: { roundings: 2 * (tokens + width) + 32, scale: out.dQkv },
  }
}

function attentionCase(
  sizes: Sizes,
  qkv = random(unpacked(sizes), 1),
  like?: { name: string; exactP: boolean },
): OpCase {
  return opCase({
    name: like ? `${text(sizes)}, ${like.name}` : text(sizes),
    inputs: { qkv: reshape(qkv, packed(sizes)) },
    op: (t) => attention(t.qkv, sizes.heads),
    forward: () => reference.attention(qkv).o,
    backward: (dO) => ({ qkv: reshape(reference.attentionBackward(dO, qkv), packed(sizes)) }),
    rounding: (dO) => attentionRounding(qkv, dO, like?.exactP ?? false),
  })
}

/**
 * Scores up to ±1e4 of which each query's largest is far from the rest, so that P is 0 or 1 for any rounding: every query meets one
 * key of its own direction, a unit axis.
 */
function largeScores(sizes: Sizes): NdArray {
  const { tokens, headDim } = sizes
  const qkv = random(unpacked(sizes), 3)
  const magnitude = Math.sqrt(1e4 * Math.sqrt(headDim))
  const [, , , heads, width] = qkv.shape
  for (let row = 0; row < qkv.data.length / width; row++) {
    const token = Math.floor(row / (3 * heads)) % tokens
    const part = Math.floor(row / heads) % 3
    if (part === 2) continue
    for (let i = 0; i < width; i++) {
      const own =
        i === (part === 0 ? (token + 1) % tokens : token) ? 1 : i === width - 1 ? -0.5 * (part === 0 ? 1 : -1) : 0
      qkv.data[row * width + i] = Math.fround(own * magnitude)
    }
  }
  return qkv
}

const LARGE: Sizes = { batch: 2, tokens: 9, heads: 3, headDim: 16 }

testOps('attention', [
  attentionCase({ batch: 1, tokens: 1, heads: 1, headDim: 1 }),
  attentionCase({ batch: 1, tokens: 1, heads: 2, headDim: 72 }),
  attentionCase({ batch: 2, tokens: 3, heads: 3, headDim: 72 }),
  attentionCase({ batch: 1, tokens: 17, heads: 1, headDim: 128 }),
  attentionCase({ batch: 3, tokens: 31, heads: 2, headDim: 5 }),
  attentionCase({ batch: 1, tokens: 130, heads: 2, headDim: 33 }),
  attentionCase({ batch: 1, tokens: 257, heads: 1, headDim: 72 }),
  attentionCase({ batch: 2, tokens: 257, heads: 1, headDim: 7 }),
  attentionCase({ batch: 1, tokens: 515, heads: 1, headDim: 3 }),
  attentionCase({ batch: 1, tokens: 64, heads: 2, headDim: 64 }),
  attentionCase({ batch: 1, tokens: 131, heads: 2, headDim: 8 }, random([1, 131, 3, 2, 8], 4, 3), {
    name: 'scores of several units',
    exactP: false,
  }),
  attentionCase(LARGE, largeScores(LARGE), { name: 'scores of 1e4', exactP: true }),
  attentionCase({ batch: 1, tokens: 5, heads: 1, headDim: 8 }, zeros([1, 5, 3, 1, 8]), {
    name: 'zeros',
    exactP: false,
  }),
])

const WEIGHTS = ['qWeight', 'qBias', 'kWeight', 'kBias'] as const

function qkNormCase(sizes: Sizes, epsilon?: number): OpCase {
  const qkv = random(unpacked(sizes), 1, 2)
  const [qWeight, qBias, kWeight, kBias] = WEIGHTS.map((_, i) => random([sizes.headDim], 2 + i))
  const weights = { qWeight, qBias, kWeight, kBias }
  return opCase({
    name: `${text(sizes)}${epsilon ? `, epsilon ${epsilon}` : ''}`,
    inputs: { qkv: reshape(qkv, packed(sizes)), ...weights },
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

testOps('qkNorm', [
  qkNormCase({ batch: 1, tokens: 1, heads: 1, headDim: 72 }),
  qkNormCase({ batch: 2, tokens: 3, heads: 2, headDim: 72 }),
  qkNormCase({ batch: 1, tokens: 257, heads: 1, headDim: 33 }, 1e-6),
  qkNormCase({ batch: 3, tokens: 5, heads: 1, headDim: 128 }),
  qkNormCase({ batch: 1, tokens: 65, heads: 2, headDim: 16 }),
])
