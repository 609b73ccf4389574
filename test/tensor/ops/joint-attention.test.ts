import { describe, expect, test } from 'vitest'
import type { NativeErrorCode } from '../../../src/native.ts'
import { memoryStats } from '../../../src/tensor/device.ts'
import { attention } from '../../../src/tensor/ops/attention.ts'
import { type AttendingStream, jointAttention } from '../../../src/tensor/ops/joint-attention.ts'
import { linear } from '../../../src/tensor/ops/linear.ts'
import { joinTokens, splitTokens } from '../../../src/tensor/ops/tokens.ts'
import { scope } from '../../../src/tensor/scope.ts'
import { Tape } from '../../../src/tensor/tape.ts'
import type { Tensor } from '../../../src/tensor/tensor.ts'
import { map, type NdArray, random, reshape, roundTo, zeros } from '../../reference/array.ts'
import * as reference from '../../reference/attention.ts'
import * as joined from '../../reference/joined-tokens.ts'
import { linear as affine, linearBackward } from '../../reference/linear.ts'
import { DEVICES } from '../devices.ts'
import { reachableBytes } from '../live-bytes.ts'
import { largestOf, type Rounding } from '../rounding.ts'
import { expectSameBits } from '../same-bits.ts'
import { attentionCase } from './attention-case.ts'
import { type Draw, ndArray, type OpCase, opCase, testOps, upload, uploadAs } from './op-case.ts'

interface Sizes {
  readonly batch: number
  /** Tokens of the first stream and of the other. */
  readonly tokens: readonly [first: number, rest: number]
  readonly heads: number
  readonly headDim: number
}

const SIZES: readonly Sizes[] = [
  { batch: 1, tokens: [1, 1], heads: 1, headDim: 1 },
  { batch: 2, tokens: [5, 9], heads: 4, headDim: 8 },
  { batch: 3, tokens: [3, 1], heads: 1, headDim: 5 },
  { batch: 2, tokens: [7, 6], heads: 3, headDim: 24 },
  // Of a caption of CLIP's length; more than a kernel's block of tokens.
  { batch: 1, tokens: [77, 53], heads: 1, headDim: 32 },
]
const text = ({ batch, tokens, heads, headDim }: Sizes) =>
  `${batch} x ${tokens.join(' and ')} tokens, ${heads} heads of ${headDim}`
const widthOf = ({ heads, headDim }: Sizes) => 3 * heads * headDim

/** Which of the two results something reads. Of the last block of an MMDiT that is `rest`. */
const READS = ['both', 'first', 'rest'] as const
type Read = (typeof READS)[number]

/** What is read of them, as one tensor. */
function readOf(read: Read, { first, rest }: { readonly first: Tensor; readonly rest: Tensor }): Tensor {
  if (read === 'both') return joinTokens(first, rest)
  return read === 'first' ? first : rest
}

/** In every row and column one number, 1 or -1: its product is exact in any dtype. */
function shuffle(size: number, seed: number): NdArray {
  const order = Array.from({ length: size }, (_, i) => i).sort(
    (i, j) => random([size], seed).data[i]! - random([size], seed).data[j]!,
  )
  const out = zeros([size, size])
  for (const [row, column] of order.entries()) out.data[row * size + column] = row % 2 === 0 ? 1 : -1
  return out
}

/**
 * Queries, keys and values are exact, so that all errors are attention's own: `attentionCase` derives them, of the result and of dqkv. dx has
 * the numbers of dqkv in another order; a weight's gradient is their sum over the rows by x, of terms that were rounded to a narrow dtype
 * once more, and a bias's the sum without x.
 */
function jointCase(draw: Draw, sizes: Sizes, read: Read): OpCase {
  const { batch, tokens, heads, headDim } = sizes
  const width = widthOf(sizes)
  const [before, behind] = tokens
  const inputs = {
    first: draw([batch, before, width], 1),
    rest: draw([batch, behind, width], 2),
    firstWeight: shuffle(width, 3),
    firstBias: zeros([width]),
    restWeight: shuffle(width, 4),
    restBias: zeros([width]),
  }
  const flat = joined.joinTokens(
    affine(inputs.first, inputs.firstWeight, inputs.firstBias),
    affine(inputs.rest, inputs.restWeight, inputs.restBias),
  )
  const qkv = reshape(flat, [batch, before + behind, 3, heads, headDim])
  const [firstAttended, restAttended] = joined.splitTokens(reference.attention(qkv).o, before)
  /** The gradient of both results, that of what nothing reads being zeros. */
  const whole = (dOut: NdArray) => {
    if (read === 'both') return dOut
    return read === 'first'
      ? joined.joinTokens(dOut, zeros(restAttended.shape))
      : joined.joinTokens(zeros(firstAttended.shape), dOut)
  }
  return opCase({
    name: `${text(sizes)}, ${read} read`,
    inputs,
    compute: ['first', 'rest', 'firstWeight', 'restWeight'],
    op: (t) => {
      const stream = (name: 'first' | 'rest'): AttendingStream => ({
        input: t[name],
        layer: { weight: t[`${name}Weight`], bias: t[`${name}Bias`] },
      })
      return readOf(read, jointAttention(stream('first'), stream('rest'), heads))
    },
    forward: () => {
      if (read === 'both') return joined.joinTokens(firstAttended, restAttended)
      return read === 'first' ? firstAttended : restAttended
    },
    backward: (dOut) => {
      const dQkv = reshape(reference.attentionBackward(whole(dOut), qkv), flat.shape)
      const [dFirst, dRest] = joined.splitTokens(dQkv, before)
      const first = linearBackward(dFirst, inputs.first, inputs.firstWeight, inputs.firstBias)
      const rest = linearBackward(dRest, inputs.rest, inputs.restWeight, inputs.restBias)
      return {
        first: first.dx,
        firstWeight: first.dWeight,
        firstBias: first.dBias,
        rest: rest.dx,
        restWeight: rest.dWeight,
        restBias: rest.dBias,
      }
    },
    rounding: (dOut) => {
      const all = { batch, tokens: before + behind, heads, headDim }
      const { out, qkv: dQkv } = attentionCase(all, qkv).rounding(whole(dOut)) as { out: Rounding; qkv: Rounding }
      const summed = (rows: number, x: number) => ({
        roundings: dQkv.roundings + rows,
        scale: Math.sqrt(rows) * dQkv.scale * x,
        computeRoundings: dQkv.computeRoundings! + 1,
      })
      const bounds = (name: 'first' | 'rest', rows: number) => ({
        [name]: dQkv,
        [`${name}Weight`]: summed(rows, largestOf(inputs[name])),
        [`${name}Bias`]: summed(rows, 1),
      })
      return { out: out!, ...bounds('first', batch * before), ...bounds('rest', batch * behind) }
    },
  })
}

testOps('jointAttention', (draw) => SIZES.flatMap((sizes) => READS.map((read) => jointCase(draw, sizes, read))))

for (const { device, missing } of DEVICES) {
  describe.skipIf(missing).each(device === 'cpu' ? (['f32'] as const) : (['f32', 'bf16', 'f16'] as const))(
    `jointAttention on ${device} in %s`,
    (dtype) => {
      const INPUT = 20
      const NAMES = ['first', 'firstWeight', 'firstBias', 'rest', 'restWeight', 'restBias'] as const
      type Name = (typeof NAMES)[number]
      type Inputs = Readonly<Record<Name, Tensor>>

      function inputsOf(sizes: Sizes): Inputs & Disposable {
        const { batch, tokens } = sizes
        const width = widthOf(sizes)
        const narrow = (shape: readonly number[], seed: number, scale = 1) => {
          const values = map(random(shape, seed, scale), (value) => roundTo(dtype, value))
          return uploadAs(values, device, dtype)
        }
        const made: Inputs = {
          first: narrow([batch, tokens[0], INPUT], 1),
          firstWeight: narrow([width, INPUT], 2, Math.sqrt(3 / INPUT)),
          firstBias: upload(random([width], 3), device),
          rest: narrow([batch, tokens[1], INPUT], 4),
          restWeight: narrow([width, INPUT], 5, Math.sqrt(3 / INPUT)),
          restBias: upload(random([width], 6), device),
        }
        return {
          ...made,
          [Symbol.dispose]: () => {
            for (const name of NAMES) made[name].dispose()
          },
        }
      }

      const streamsOf = (t: Inputs): [AttendingStream, AttendingStream] => [
        { input: t.first, layer: { weight: t.firstWeight, bias: t.firstBias } },
        { input: t.rest, layer: { weight: t.restWeight, bias: t.restBias } },
      ]

      /** The same of ops that have tables of their own. */
      function composed(first: AttendingStream, rest: AttendingStream, heads: number) {
        const qkv = joinTokens(linear(first.input, first.layer), linear(rest.input, rest.layer))
        const [before, behind] = splitTokens(attention(qkv, heads), first.input.shape[1]!)
        return { first: before, rest: behind }
      }

      /** The result and the gradients of what is watched; undefined of one that has none. */
      async function run(op: typeof jointAttention, sizes: Sizes, read: Read, watched: readonly Name[]) {
        using t = inputsOf(sizes)
        using tape = new Tape()
        tape.watch(...watched.map((name) => t[name]))
        using out = tape.record(() => readOf(read, op(...streamsOf(t), sizes.heads)))
        using dOut = uploadAs(random(out.shape, 7), device, dtype)
        tape.seed(out, dOut.alias())
        const gradients = tape.backward()
        const found = await Promise.all(
          NAMES.map(async (name) => {
            const gradient = gradients.get(t[name])
            return [name, gradient && (await ndArray(gradient)).data] as const
          }),
        )
        gradients.dispose()
        return { out: (await ndArray(out)).data, gradients: new Map(found) }
      }

      const cases = SIZES.flatMap((sizes) =>
        READS.map((read) => ({ name: `${text(sizes)}, ${read} read`, sizes, read })),
      )
      test.each(cases)('$name: the bits of its parts, and nothing is left', async ({ sizes, read }) => {
        const before = await reachableBytes(device)
        const actual = await run(jointAttention, sizes, read, NAMES)
        const expected = await run(composed, sizes, read, NAMES)
        expectSameBits('out', actual.out, expected.out)
        for (const name of NAMES) expectSameBits(name, actual.gradients.get(name)!, expected.gradients.get(name)!)
        expect(memoryStats(device).liveBytes).toBe(before)
      })

      test('the queries of a stream that nothing reads have no gradient, its keys and values have', async () => {
        const { gradients } = await run(jointAttention, SIZES[1]!, 'rest', NAMES)
        const bias = gradients.get('firstBias')!
        const third = bias.length / 3
        expect(new Set(bias.subarray(0, third).map(Math.abs))).toEqual(new Set([0]))
        expect(bias.subarray(third).every((value) => value !== 0)).toBe(true)
      })

      const WATCHED: readonly (readonly Name[])[] = [
        ['first'],
        ['rest'],
        ['firstWeight', 'firstBias'],
        ['restWeight'],
        ['restBias'],
        ['first', 'restBias'],
      ]
      test.each(WATCHED.map((watched) => ({ watched })))('where $watched alone want gradients', async ({ watched }) => {
        const all = await run(jointAttention, SIZES[1]!, 'both', NAMES)
        const some = await run(jointAttention, SIZES[1]!, 'both', watched)
        for (const name of NAMES) {
          if (watched.includes(name)) expectSameBits(name, some.gradients.get(name)!, all.gradients.get(name)!)
          else expect(some.gradients.get(name), name).toBeUndefined()
        }
      })

      test('what nothing reads leaves no gradient', async () => {
        const before = await reachableBytes(device)
        using t = inputsOf(SIZES[1]!)
        const tape = new Tape()
        tape.watch(t.first)
        tape.record(() => void jointAttention(...streamsOf(t), 4))
        tape.watch(t.rest)
        tape.seed(t.rest, uploadAs(random(t.rest.shape, 7), device, dtype))
        const gradients = tape.backward()
        expect(gradients.get(t.first)).toBeUndefined()
        gradients.dispose()
        t[Symbol.dispose]()
        expect(memoryStats(device).liveBytes).toBe(before)
      })

      test('an input of f32 is converted first, and its gradient is f32 again', async () => {
        using t = inputsOf(SIZES[1]!)
        using wide = upload(await ndArray(t.rest), device)
        using tape = new Tape()
        tape.watch(wide)
        const [first, { layer }] = streamsOf(t)
        using out = tape.record(() => jointAttention(first, { input: wide, layer }, 4).rest)
        using dOut = uploadAs(random(out.shape, 7), device, dtype)
        tape.seed(out, dOut.alias())
        const gradients = tape.backward()
        const expected = await run(jointAttention, SIZES[1]!, 'rest', ['rest'])
        expectSameBits('out', (await ndArray(out)).data, expected.out)
        const gradient = gradients.get(wide)!
        expect(gradient.dtype).toBe('f32')
        expectSameBits('gradient', (await ndArray(gradient)).data, expected.gradients.get('rest')!)
        gradients.dispose()
      })

      const REFUSED: readonly (readonly [
        message: string,
        code: NativeErrorCode,
        rest: readonly number[],
        heads: number,
      ])[] = [
        ['joinTokens: rest has shape [1, 9, 96]; expected [2, 9, 96].', 'ERR_SHAPE', [1, 9, INPUT], 4],
        [
          'linear: x has shape [2, 9, 21]; its last axis must be the 20 inputs of weight [96, 20].',
          'ERR_SHAPE',
          [2, 9, INPUT + 1],
          4,
        ],
        [
          'attention: qkv has shape [2, 14, 96], whose last axis is not 3 x 5 heads x head_dim.',
          'ERR_INVALID_ARGUMENT',
          [2, 9, INPUT],
          5,
        ],
      ]
      test.each(REFUSED)('refused, with nothing left of it: %s', (message, code, shape, heads) => {
        using t = inputsOf(SIZES[1]!)
        const before = memoryStats(device).liveBytes
        scope(() => {
          const [first, { layer }] = streamsOf(t)
          const input = uploadAs(random(shape, 8), device, dtype)
          expect(() => jointAttention(first, { input, layer }, heads)).toThrow(
            expect.objectContaining({ code, message }),
          )
        })
        expect(memoryStats(device).liveBytes).toBe(before)
      })
    },
  )
}
