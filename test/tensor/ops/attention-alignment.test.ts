import { describe, expect, test } from 'vitest'
import { attentionAlignmentLoss } from '../../../src/tensor/ops/attention-alignment.ts'
import { Tensor } from '../../../src/tensor/tensor.ts'
import { map, random } from '../../reference/array.ts'
import { attentionAlignment, attentionAlignmentBackward } from '../../reference/attention-alignment.ts'
import { DEVICES } from '../devices.ts'
import { type Draw, type LossCase, testLosses } from './loss-case.ts'

interface Sizes {
  readonly batch?: number
  readonly tokens: number
  readonly skipped?: number
  readonly own: { readonly heads: number; readonly width: number }
  readonly teacher: { readonly heads: number; readonly width: number }
  readonly aligned: number
  readonly weight?: number
}

function alignmentCase(draw: Draw, sizes: Sizes): LossCase {
  const { batch = 2, tokens, skipped = 0, own, teacher, aligned, weight } = sizes
  const qkv = draw([batch, tokens, 3 * own.heads * own.width], 1)
  const target = draw([batch, skipped + tokens, 3 * teacher.heads * teacher.width], 2)
  const roundings = own.width + teacher.width + 2 * tokens + 24
  return {
    name: `${batch} x ${tokens} tokens, ${own.heads} x ${own.width} and ${teacher.heads} x ${teacher.width} with ${skipped} before, ${aligned} heads`,
    prediction: qkv,
    target,
    narrowTarget: true,
    ...(weight !== undefined && { weight }),
    loss: (prediction, of, by, scaling) =>
      attentionAlignmentLoss(
        { qkv: prediction, heads: own.heads },
        { qkv: of, heads: teacher.heads },
        aligned,
        by,
        scaling,
      ),
    perSample: attentionAlignment(qkv, own, target, teacher, aligned),
    gradient: attentionAlignmentBackward(qkv, own, target, teacher, aligned, weight),
    rounding: {
      // A logarithm of a sum, and a mean of scores, each within a few units.
      loss: { roundings, scale: 1 + Math.log(tokens) },
      // Of q: (w / (B H T √d)) Σ (P − P*) k, where |P − P*| sums to 2 at most and the k, of order 1, have random signs: over n keys that
      // matter they add up to 1 / √n of that. A softmax of these scores spreads over all of them while they are few, and is taken to over 64.
      gradient: {
        roundings,
        scale: (2 * (weight ?? 1)) / (batch * aligned * tokens * Math.sqrt(own.width * Math.min(tokens, 64))),
        computeRoundings: 1,
      },
    },
  }
}

const even = (heads: number, width: number) => ({ heads, width })

// One token, whose attention is 1; fewer than a block, its edges; a teacher of wider and of narrower heads, with tokens before; rows that no
// access of 16 bytes fits; as an XL has them beside DINOv2-B.
testLosses('attentionAlignmentLoss', (draw) => [
  alignmentCase(draw, { tokens: 2, own: even(1, 1), teacher: even(1, 1), aligned: 1 }),
  alignmentCase(draw, { tokens: 7, skipped: 1, own: even(3, 5), teacher: even(2, 9), aligned: 2, weight: 0.5 }),
  alignmentCase(draw, { tokens: 32, own: even(2, 32), teacher: even(2, 16), aligned: 1 }),
  alignmentCase(draw, { tokens: 65, skipped: 5, own: even(2, 24), teacher: even(3, 40), aligned: 2 }),
  alignmentCase(draw, { batch: 1, tokens: 33, skipped: 3, own: even(1, 96), teacher: even(1, 128), aligned: 1 }),
  alignmentCase(draw, {
    batch: 1,
    tokens: 70,
    skipped: 1,
    own: even(2, 72),
    teacher: even(2, 64),
    aligned: 2,
    weight: 0.5,
  }),
])

for (const { device, missing } of DEVICES) {
  describe.skipIf(missing)(`attentionAlignmentLoss on ${device}`, () => {
    const heads = even(2, 8)
    const drawn = (tokens: number, seed: number, scale = 1) => random([1, tokens, 48], seed, scale)
    const lossOf = async (own: Float64Array, teacher: Float64Array, tokens: number) => {
      using qkv = Tensor.from(Float32Array.from(own), [1, tokens, 48], device)
      using target = Tensor.from(Float32Array.from(teacher), [1, tokens, 48], device)
      using loss = attentionAlignmentLoss({ qkv, heads: 2 }, { qkv: target, heads: 2 }, 2)
      return (await loss.data())[0]!
    }

    test('of a model that attends as its teacher is the entropy, and of any other more', async () => {
      const own = drawn(40, 3, 2)
      const entropy = await lossOf(own.data, own.data, 40)
      expect(entropy).toBeCloseTo(attentionAlignment(own, heads, own, heads, 2).data[0]!, 5)
      // Values have no part in it.
      const others = map(drawn(40, 4, 2), (value, i) => (i % 48 < 32 ? own.data[i]! : value))
      expect(await lossOf(others.data, own.data, 40)).toBe(entropy)
      expect(await lossOf(drawn(40, 5, 2).data, own.data, 40)).toBeGreaterThan(entropy)
    })

    test('of scores of hundreds is finite', async () => {
      const [own, teacher] = [drawn(40, 6, 40), drawn(40, 7, 40)]
      const expected = attentionAlignment(own, heads, teacher, heads, 2).data[0]!
      expect(expected).toBeGreaterThan(100)
      expect((await lossOf(own.data, teacher.data, 40)) / expected).toBeCloseTo(1, 5)
    })

    test('a number that is none gives no number', async () => {
      const own = drawn(40, 8).data
      own[3 * 48] = Number.NaN
      expect(await lossOf(own, drawn(40, 9).data, 40)).toBeNaN()
      expect(await lossOf(drawn(40, 9).data, own, 40)).toBeNaN()
    })

    test.each([
      [[2, 4, 12], 2, [2, 3, 12], 2, 1, 'teacher has shape [2, 3, 12]; expected 2 samples of at least 4 tokens.'],
      [[2, 4, 12], 2, [1, 4, 12], 2, 1, 'teacher has shape [1, 4, 12]; expected 2 samples of at least 4 tokens.'],
      [
        [2, 4, 12],
        2,
        [2, 4, 6],
        1,
        2,
        '2 heads are to be compared of 2 and of 1; expected at least one, and no more than there are.',
      ],
      [[2, 4, 12], 3, [2, 4, 12], 2, 1, 'qkv has shape [2, 4, 12], whose last axis is not 3 x 3 heads x head_dim.'],
      [[2, 4, 12], 2, [2, 4, 3 * 129], 1, 1, 'head_dim of teacher is 129; it may be 1 to 128.'],
    ])(
      '%j of %i heads and %j of %i, %i compared, are refused',
      (own, ownHeads, of, teacherHeads, aligned, sentence) => {
        using qkv = Tensor.zeros(own, device)
        using teacher = Tensor.zeros(of, device)
        expect(() =>
          attentionAlignmentLoss({ qkv, heads: ownHeads }, { qkv: teacher, heads: teacherHeads }, aligned),
        ).toThrow(`attentionAlignmentLoss: ${sentence}`)
      },
    )
  })
}
