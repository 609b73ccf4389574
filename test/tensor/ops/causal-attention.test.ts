import { describe, expect, test } from 'vitest'
import { type NativeErrorCode, native } from '../../../src/native.ts'
import { causalAttention } from '../../../src/tensor/ops/attention.ts'
import { scope } from '../../../src/tensor/scope.ts'
import { Tape } from '../../../src/tensor/tape.ts'
import { Tensor } from '../../../src/tensor/tensor.ts'
import { expectClose, map, random, roundTo, zeros } from '../../reference/array.ts'
import * as reference from '../../reference/attention.ts'
import { DEVICES } from '../devices.ts'
import { narrowTensor, narrowValues } from '../narrow.ts'
import { causalAttentionCase, packed, type Sizes, text, unpacked } from './attention-case.ts'
import { testOps } from './op-case.ts'

/**
 * CLIP's 77 tokens in 12 heads of 64; fewer than a tile of queries or keys, its edges, and several; head_dim 64 in shared memory as a whole and
 * past 272 tokens streamed, the others streamed, above 80 with 16 queries a warp; of 321 tokens the CPU has two blocks of keys.
 */
const SIZES: readonly Sizes[] = [
  ...[1, 3, 77, 257].flatMap((tokens) => [32, 64, 72].map((headDim) => ({ batch: 2, tokens, heads: 1, headDim }))),
  { batch: 1, tokens: 77, heads: 12, headDim: 64 },
  { batch: 3, tokens: 31, heads: 2, headDim: 5 },
  { batch: 1, tokens: 33, heads: 3, headDim: 24 },
  { batch: 1, tokens: 64, heads: 2, headDim: 64 },
  { batch: 1, tokens: 65, heads: 2, headDim: 96 },
  { batch: 1, tokens: 97, heads: 1, headDim: 80 },
  { batch: 1, tokens: 128, heads: 1, headDim: 64 },
  { batch: 1, tokens: 129, heads: 1, headDim: 128 },
  { batch: 1, tokens: 161, heads: 5, headDim: 64 },
  { batch: 1, tokens: 321, heads: 1, headDim: 64 },
  { batch: 1, tokens: 515, heads: 1, headDim: 3 },
]

testOps('causalAttention', (draw) => [
  ...SIZES.map((sizes) => causalAttentionCase(sizes, draw(unpacked(sizes), 1))),
  causalAttentionCase(
    { batch: 1, tokens: 131, heads: 2, headDim: 8 },
    draw([1, 131, 3, 2, 8], 4, 3),
    'of large scores',
  ),
  causalAttentionCase({ batch: 1, tokens: 5, heads: 1, headDim: 8 }, zeros([1, 5, 3, 1, 8]), 'zeros'),
])

test('the reference of a token is attention over what it sees', () => {
  const qkv = random([1, 7, 3, 2, 4], 1, 2)
  const causal = reference.causalAttention(qkv)
  for (let t = 0; t < 7; t++) {
    const seen = { shape: [1, t + 1, 3, 2, 4], data: qkv.data.slice(0, (t + 1) * 24) }
    const of = (data: Float64Array) => ({ shape: [8], data: data.slice(8 * t, 8 * t + 8) })
    expectClose(`token ${t}`, of(causal.data), of(reference.attention(seen).o.data), { atol: 0, rtol: 2 ** -50 })
  }
})

/** Scores of many units: later tokens' would raise what earlier tokens' exponentials are taken of, if a kernel let them. */
const SPREAD = 6
const KEPT: readonly { sizes: Sizes; kept: readonly number[] }[] = [
  { sizes: { batch: 2, tokens: 77, heads: 2, headDim: 64 }, kept: [1, 3, 17, 33, 64, 65, 76] },
  { sizes: { batch: 1, tokens: 150, heads: 1, headDim: 32 }, kept: [1, 40, 66, 129] },
  { sizes: { batch: 1, tokens: 70, heads: 1, headDim: 128 }, kept: [9, 24, 66] },
  { sizes: { batch: 1, tokens: 350, heads: 1, headDim: 7 }, kept: [100, 320, 330] },
]

for (const { device, missing } of DEVICES) {
  describe.skipIf(missing)(`causalAttention on ${device}`, () => {
    describe.each(device === 'cpu' ? (['f32'] as const) : (['f32', 'bf16', 'f16'] as const))('in %s', (dtype) => {
      test.each(KEPT)(
        'later tokens change no bit of the earlier ones: $sizes.tokens x $sizes.headDim',
        async (table) => {
          const { sizes, kept } = table
          const { tokens, heads, headDim } = sizes
          const draw = (seed: number) => map(random(packed(sizes), seed, SPREAD), (value) => roundTo(dtype, value))
          const attended = async (qkv: ReturnType<typeof draw>) => {
            using out = scope(() => causalAttention(narrowTensor(qkv, device, dtype), heads))
            return (await narrowValues(out)).data
          }
          const [qkv, other] = [draw(1), draw(2)]
          const whole = await attended(qkv)
          for (const count of kept) {
            const isLater = (i: number, width: number) => Math.floor(i / width) % tokens >= count
            const changed = await attended(
              map(qkv, (value, i) => (isLater(i, 3 * heads * headDim) ? other.data[i]! : value)),
            )
            const earlier = (values: Float64Array) => values.filter((_, i) => !isLater(i, heads * headDim))
            expect(earlier(changed), `the first ${count} of ${text(sizes)}`).toEqual(earlier(whole))
            expect(changed).not.toEqual(whole)
          }
        },
      )
    })

    test('does not record', () => {
      const qkv = Tensor.zeros([1, 2, 12], device)
      const tape = new Tape()
      tape.watch(qkv)
      expect(() => tape.record(() => causalAttention(qkv, 2))).toThrow(
        'causalAttention: a gradient of qkv [1,2,12] is wanted, and there is none: it is for encoders that stay as they are. ' +
          'Run the encoder outside of the tape, or with weights that want no gradient.',
      )
      tape.dispose()
      qkv.dispose()
    })

    test.each([
      [
        [0, 5, 12],
        [0, 5, 4],
      ],
      [
        [2, 0, 12],
        [2, 0, 4],
      ],
    ])('of nothing: %j', (shape, expected) => {
      scope(() => expect(causalAttention(Tensor.empty(shape, device), 2).shape).toEqual(expected))
    })

    const refused: readonly (readonly [message: string, code: NativeErrorCode, shape: number[], heads: number])[] = [
      ['causalAttention: qkv has shape [1, 3]; expected [B, T, 3 H d].', 'ERR_SHAPE', [1, 3], 1],
      [
        'causalAttention: qkv has shape [1, 2, 12], whose last axis is not 3 x 5 heads x head_dim.',
        'ERR_INVALID_ARGUMENT',
        [1, 2, 12],
        5,
      ],
      ['causalAttention: head_dim of qkv is 129; it may be 1 to 128.', 'ERR_INVALID_ARGUMENT', [1, 2, 387], 1],
    ]
    test.each(refused)('%s', (message, code, shape, heads) => {
      scope(() => {
        const call = () => native().causalAttention(Tensor.empty(shape, device).handle, heads)
        expect(call).toThrow(expect.objectContaining({ code, message }))
      })
    })
  })
}
