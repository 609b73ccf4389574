import { describe, expect, test } from 'vitest'
import { rotaryPositions } from '../../../src/models/rotary-positions.ts'
import { attention, linearAttention } from '../../../src/tensor/ops/attention.ts'
import { linear } from '../../../src/tensor/ops/linear.ts'
import { rotate } from '../../../src/tensor/ops/rope.ts'
import { Tape } from '../../../src/tensor/tape.ts'
import { Tensor } from '../../../src/tensor/tensor.ts'
import { map, random } from '../../reference/array.ts'
import * as reference from '../../reference/rope.ts'
import { DEVICES } from '../devices.ts'
import { largestOf } from '../rounding.ts'
import { type Draw, ndArray, type OpCase, opCase, testOps, upload, uploadAs } from './op-case.ts'

interface Sizes {
  readonly batch: number
  readonly tokens: number
  readonly heads: number
  readonly headDim: number
}

function rotateCase(draw: Draw, { batch, tokens, heads, headDim }: Sizes): OpCase {
  const qkv = draw([batch, tokens, 3 * heads * headDim], 1, 2)
  // Of any two columns of a pair, not only of one angle.
  const [cos, sin] = [random([tokens, headDim], 2), random([tokens, headDim], 3)]
  const rounded = (x: number) => ({ roundings: 3, scale: (largestOf(cos) + largestOf(sin)) * x })
  return opCase({
    name: `${batch} x ${tokens} tokens, ${heads} heads of ${headDim}`,
    inputs: { qkv, cos, sin },
    compute: ['qkv'],
    op: (t) => rotate(t.qkv, { cos: t.cos, sin: t.sin }, heads),
    forward: () => reference.rotate(qkv, cos, sin, heads),
    backward: (dOut) => ({ qkv: reference.rotateBackward(dOut, cos, sin, heads) }),
    rounding: (dOut) => ({ out: rounded(Math.max(2, largestOf(qkv))), qkv: rounded(Math.max(2, largestOf(dOut))) }),
  })
}

// Whole accesses and pairs; more heads than a block takes at once; more samples than one.
testOps('rotate', (draw) => [
  rotateCase(draw, { batch: 1, tokens: 1, heads: 1, headDim: 2 }),
  rotateCase(draw, { batch: 2, tokens: 5, heads: 3, headDim: 6 }),
  rotateCase(draw, { batch: 9, tokens: 3, heads: 2, headDim: 8 }),
  rotateCase(draw, { batch: 2, tokens: 17, heads: 16, headDim: 72 }),
  rotateCase(draw, { batch: 1, tokens: 257, heads: 2, headDim: 64 }),
  rotateCase(draw, { batch: 1, tokens: 2, heads: 48, headDim: 128 }),
  rotateCase(draw, { batch: 0, tokens: 3, heads: 2, headDim: 8 }),
])

for (const { device, missing } of DEVICES) {
  describe.skipIf(missing).each(device === 'cpu' ? (['f32'] as const) : (['f32', 'bf16', 'f16'] as const))(
    `linearAttention with rotary positions on ${device} in %s`,
    (dtype) => {
      // What the fused op leaves out of the tape's ops, it does itself: the same kernels in the same order, so the same bits.
      test('has the bits of the product, the turn and attention, and their gradients', async () => {
        const [batch, tokens, heads, headDim, width] = [2, 9, 2, 8, 20]
        const drawn = (shape: readonly number[], seed: number) => uploadAs(random([...shape], seed), device, dtype)
        const inputs = [drawn([batch, tokens, width], 1), drawn([3 * heads * headDim, width], 2)] as const
        const bias = upload(random([3 * heads * headDim], 3), device)
        const rope = {
          cos: upload(random([tokens, headDim], 4), device),
          sin: upload(random([tokens, headDim], 5), device),
        }
        const dO = drawn([batch, tokens, heads * headDim], 6)
        const run = async (op: (x: Tensor, weight: Tensor) => Tensor) => {
          using tape = new Tape()
          tape.watch(...inputs, bias)
          using o = tape.record(() => op(...inputs))
          tape.seed(o, dO.alias())
          const gradients = tape.backward()
          const all = await Promise.all([o, ...[...inputs, bias].map((tensor) => gradients.get(tensor)!)].map(ndArray))
          gradients.dispose()
          return all.map(({ data }) => data)
        }
        const fused = await run((x, weight) => linearAttention(x, { weight, bias }, heads, rope).o)
        const apart = await run((x, weight) => attention(rotate(linear(x, { weight, bias }), rope, heads), heads))
        expect(fused).toEqual(apart)
        const plain = await run((x, weight) => linearAttention(x, { weight, bias }, heads).o)
        expect(fused[0]).not.toEqual(plain[0])
        for (const tensor of [...inputs, bias, dO, rope.cos, rope.sin]) tensor.dispose()
      })
    },
  )
}

describe('rotaryPositions', () => {
  test('turn the first half of the columns by the row and the second by the column', () => {
    const { cos, sin } = rotaryPositions(8, 2, 3)
    expect(cos).toHaveLength(2 * 3 * 8)
    const frequencies = [1, 1, 0.01, 0.01]
    for (const [row, column] of [
      [0, 0],
      [0, 2],
      [1, 0],
      [1, 1],
    ] as const) {
      const angles = [...frequencies.map((f) => row * f), ...frequencies.map((f) => column * f)]
      const at = (row * 3 + column) * 8
      for (const [i, angle] of angles.entries()) {
        expect(cos[at + i]).toBeCloseTo(Math.cos(angle), 6)
        expect(sin[at + i]).toBeCloseTo(Math.sin(angle), 6)
      }
    }
  })

  test('a product of turned queries and keys depends on how far apart they are alone', async () => {
    const tables = rotaryPositions(8, 4, 5)
    const [cos, sin] = [tables.cos, tables.sin].map((values) => Tensor.from(values, [20, 8], 'cpu')) as [Tensor, Tensor]
    // Every token has the same query and the same key.
    const row = [...random([16], 1).data, ...new Array<number>(8).fill(0)]
    const qkv = upload(
      map(random([1, 20, 24], 0), (_, i) => row[i % 24]!),
      'cpu',
    )
    const turned = rotate(qkv, { cos, sin }, 1)
    const { data } = await ndArray(turned)
    const dot = (from: number, to: number) =>
      Array.from({ length: 8 }, (_, i) => data[24 * from + i]! * data[24 * to + 8 + i]!).reduce((a, b) => a + b)
    expect(dot(0, 7)).toBeCloseTo(dot(5, 12), 5)
    expect(dot(0, 7)).toBeCloseTo(dot(11, 18), 5)
    expect(dot(0, 7)).not.toBeCloseTo(dot(0, 8), 3)
    for (const tensor of [cos, sin, qkv, turned]) tensor.dispose()
  })

  test('a head_dim that is no multiple of 4 is refused', () => {
    expect(() => rotaryPositions(6, 2, 2)).toThrow('rotaryPositions: the head_dim 6 is not a multiple of 4.')
  })
})

test.each([
  [5, [2, 4], [1, 2, 12], 'qkv has shape [1, 2, 12], whose last axis is not 3 x 5 heads x head_dim.'],
  [1, [2, 3], [1, 2, 9], 'head_dim is 3; pairs of columns are turned, so it must be even.'],
  [1, [3, 4], [1, 2, 12], 'cos has shape [3, 4]; expected [2, 4].'],
] as const)('%i heads, tables %j of qkv %j are refused', (heads, table, shape, sentence) => {
  using qkv = Tensor.zeros([...shape], 'cpu')
  using cos = Tensor.zeros([...table], 'cpu')
  expect(() => rotate(qkv, { cos, sin: cos }, heads)).toThrow(`rotate: ${sentence}`)
})
