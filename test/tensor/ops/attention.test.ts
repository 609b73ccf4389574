import { describe, expect, test } from 'vitest'
import type { Norm } from '../../../src/native.ts'
import { attention, type QkNormWeights, qkNorm } from '../../../src/tensor/ops/attention.ts'
import { Tape } from '../../../src/tensor/tape.ts'
import { Tensor } from '../../../src/tensor/tensor.ts'
import { map, type NdArray, random, reshape, zeros } from '../../reference/array.ts'
import * as normReference from '../../reference/qk-norm.ts'
import { DEVICES } from '../devices.ts'
import { largestOf } from '../rounding.ts'
import { attentionCase, packed, type Sizes, text, unpacked } from './attention-case.ts'
import { type Draw, type OpCase, opCase, testOps, upload } from './op-case.ts'

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
  // MMDiT's 77 tokens of text and 256 of the image.
  { batch: 1, tokens: 333, heads: 3, headDim: 32 },
  { batch: 1, tokens: 515, heads: 1, headDim: 3 },
  // As 512 pixels have them, in pieces of 128 or 64 tokens: more tiles than the shim has multiprocessors, and a last piece of one row.
  { batch: 1, tokens: 385, heads: 2, headDim: 64 },
  { batch: 1, tokens: 513, heads: 1, headDim: 72 },
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
  // Later keys raise the shift of what has been summed.
  ...[32, 64, 72].map((headDim) =>
    attentionCase({ batch: 1, tokens: 257, heads: 1, headDim }, draw([1, 257, 3, 1, headDim], 4, 5), {
      name: 'scores of several units',
      exactP: false,
    }),
  ),
  attentionCase(LARGE, largeScores(draw, LARGE), { name: 'scores of 2^13', exactP: true }),
  attentionCase({ batch: 1, tokens: 5, heads: 1, headDim: 8 }, zeros([1, 5, 3, 1, 8]), {
    name: 'zeros',
    exactP: false,
  }),
])

const WEIGHTS = ['qWeight', 'qBias', 'kWeight', 'kBias'] as const

interface QkNormOptions {
  readonly norm?: Norm
  readonly epsilon?: number
}

function qkNormCase(draw: Draw, sizes: Sizes, { norm = 'layerNorm', epsilon }: QkNormOptions = {}): OpCase {
  const isRms = norm === 'rmsNorm'
  const qkv = draw(unpacked(sizes), 1, 2)
  const [qWeight, qBias, kWeight, kBias] = WEIGHTS.map((_, i) => draw([sizes.headDim], 2 + i))
  const weights = { qWeight, qBias, kWeight, kBias }
  return opCase<string>({
    name: `${norm} ${text(sizes)}${epsilon ? `, epsilon ${epsilon}` : ''}`,
    inputs: { qkv: reshape(qkv, packed(sizes)), ...(isRms ? { qWeight, kWeight } : weights) },
    compute: ['qkv'],
    op: (t) => qkNorm(t.qkv!, t as unknown as QkNormWeights, sizes.heads, { norm, epsilon }),
    forward: () =>
      reshape((isRms ? normReference.qkRmsNorm : normReference.qkNorm)(qkv, weights, epsilon), packed(sizes)),
    backward: (dOut) => {
      if (isRms) {
        const d = normReference.qkRmsNormBackward(reshape(dOut, unpacked(sizes)), qkv, weights, epsilon)
        return { qkv: reshape(d.dQkv, packed(sizes)), qWeight: d.dqWeight, kWeight: d.dkWeight }
      }
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
        const mean = isRms ? 0 : row.reduce((a, b) => a + b, 0) / headDim
        const variance = row.reduce((a, b) => a + (b - mean) ** 2, 0) / headDim
        rstd = Math.max(rstd, 1 / Math.sqrt(variance + (epsilon ?? (isRms ? 1e-6 : 1e-5))))
      }
      const xhat = rstd * largestOf(qkv)
      const d = largestOf(dOut)
      const roundings = 2 * headDim + 16
      const factor = Math.max(largestOf(qWeight), largestOf(kWeight))
      const weight = { roundings: roundings + rows, scale: Math.sqrt(rows) * d * xhat }
      const bias = { roundings: roundings + rows, scale: Math.sqrt(rows) * d }
      return {
        out: { roundings, scale: factor * xhat + (isRms ? 0 : Math.max(largestOf(qBias), largestOf(kBias))) },
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
  qkNormCase(draw, { batch: 1, tokens: 257, heads: 1, headDim: 33 }, { epsilon: 1e-6 }),
  qkNormCase(draw, { batch: 3, tokens: 5, heads: 1, headDim: 128 }),
  qkNormCase(draw, { batch: 1, tokens: 65, heads: 2, headDim: 16 }),
  qkNormCase(draw, { batch: 2, tokens: 3, heads: 2, headDim: 72 }, { norm: 'rmsNorm' }),
  qkNormCase(draw, { batch: 1, tokens: 257, heads: 1, headDim: 33 }, { norm: 'rmsNorm', epsilon: 1e-3 }),
  qkNormCase(draw, { batch: 1, tokens: 65, heads: 3, headDim: 64 }, { norm: 'rmsNorm' }),
])

for (const { device, missing } of DEVICES) {
  describe.skipIf(missing)(`attention in which every query has picked a key, on ${device}`, () => {
    // 400 tokens are more than a block of keys on the CPU.
    test.each([
      [400, 17],
      [1e5, 40],
      [1e8, 40],
      [1e8, 400],
    ])('scores from %d on, %d tokens: its probabilities are 1 in the backward pass too', async (score, tokens) => {
      const headDim = 16
      // Of query and key, the one eight times as long: 8 · 64 size / √headDim.
      const size = score / 128
      const values = random([1, tokens, 3, headDim], 3, Math.sqrt(size))
      // Each query is far along its own key's direction, some farther than others, and the keys are of one length.
      const place = (token: number, part: number) => (token * 3 + part) * headDim
      for (let token = 0; token < tokens; token++) {
        const key = values.data.subarray(place(token, 1), place(token, 2))
        const length = Math.hypot(...key)
        for (let i = 0; i < headDim; i++) {
          key[i]! *= Math.sqrt(size * 64) / length
          values.data[place(token, 0) + i] = Math.fround(key[i]! * (8 + token / 64))
        }
      }
      using qkv = upload({ ...values, shape: [1, tokens, 3 * headDim] }, device)
      using tape = new Tape()
      tape.watch(qkv)
      using out = tape.record(() => attention(qkv, 1))
      tape.seed(out, Tensor.full(out.shape, 1, device))
      const gradients = tape.backward()
      const gradient = await gradients.get(qkv)!.data()
      gradients.dispose()
      for (let i = 0; i < headDim; i++) {
        let sum = 0
        for (let token = 0; token < tokens; token++) sum += gradient[place(token, 2) + i]!
        expect(Math.abs(sum - tokens)).toBeLessThanOrEqual(tokens * tokens * 2 ** -23)
      }
    })
  })
}
