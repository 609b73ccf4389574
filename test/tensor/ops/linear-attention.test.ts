import { describe, expect, test } from 'vitest'
import { native } from '../../../src/native.ts'
import { memoryStats } from '../../../src/tensor/device.ts'
import { attention, linearAttention } from '../../../src/tensor/ops/attention.ts'
import { type LinearWeights, linear } from '../../../src/tensor/ops/linear.ts'
import { Tape } from '../../../src/tensor/tape.ts'
import { Tensor } from '../../../src/tensor/tensor.ts'
import { map, type NdArray, random, roundTo, zeros } from '../../reference/array.ts'
import { DEVICES } from '../devices.ts'
import { reachableBytes } from '../live-bytes.ts'
import { expectRounded, largestOf } from '../rounding.ts'
import { ndArray, upload, uploadAs } from './op-case.ts'

/** A head in shared memory, where some warps have no keys and where all have; streamed, in one block of tokens and in several. */
const SIZES = [
  { batch: 2, tokens: 129, heads: 2, headDim: 72 },
  { batch: 1, tokens: 200, heads: 1, headDim: 72 },
  { batch: 1, tokens: 256, heads: 3, headDim: 64 },
  { batch: 2, tokens: 3, heads: 3, headDim: 24 },
  { batch: 1, tokens: 128, heads: 1, headDim: 72 },
  { batch: 2, tokens: 70, heads: 2, headDim: 80 },
  { batch: 1, tokens: 130, heads: 2, headDim: 33 },
  { batch: 1, tokens: 257, heads: 1, headDim: 64 },
  { batch: 1, tokens: 140, heads: 1, headDim: 128 },
  { batch: 1, tokens: 33, heads: 1, headDim: 5 },
] as const

for (const { device, missing } of DEVICES) {
  describe.skipIf(missing).each(device === 'cpu' ? (['f32'] as const) : (['f32', 'bf16', 'f16'] as const))(
    `linearAttention on ${device} in %s`,
    (dtype) => {
      const draw = (shape: readonly number[], seed: number, scale = 1) =>
        map(random([...shape], seed, scale), (value) => roundTo(dtype, value))

      type Sizes = (typeof SIZES)[number]
      type Inputs = Readonly<Record<'x' | 'weight' | 'bias' | 'dO', Tensor>>
      const INPUT = 20
      const inputsOf = ({ batch, tokens, heads, headDim }: Sizes): Inputs => {
        const width = 3 * heads * headDim
        return {
          x: uploadAs(draw([batch, tokens, INPUT], 1), device, dtype),
          weight: uploadAs(draw([width, INPUT], 2, Math.sqrt(3 / INPUT)), device, dtype),
          bias: upload(draw([width], 3), device),
          dO: uploadAs(draw([batch, tokens, heads * headDim], 4), device, dtype),
        }
      }
      const disposeAll = (tensors: Readonly<Record<string, Tensor>>) => {
        for (const tensor of Object.values(tensors)) tensor.dispose()
      }

      /** o, and the gradients of x, weight and bias. */
      async function run(sizes: Sizes, op: (x: Tensor, layer: LinearWeights, heads: number) => Tensor) {
        const inputs = inputsOf(sizes)
        const { x, weight, bias, dO } = inputs
        using tape = new Tape()
        tape.watch(x, weight, bias)
        using o = tape.record(() => op(x, { weight, bias }, sizes.heads))
        tape.seed(o, dO.alias())
        const gradients = tape.backward()
        const all = await Promise.all([o, ...[x, weight, bias].map((tensor) => gradients.get(tensor)!)].map(ndArray))
        gradients.dispose()
        disposeAll(inputs)
        return all as [NdArray, NdArray, NdArray, NdArray]
      }

      /** dqkv [B, T, 3·H·d], and what its columns' sums are written, or added, to. */
      async function backward(sizes: Sizes, start?: NdArray) {
        const inputs = inputsOf(sizes)
        const { x, weight, bias, dO } = inputs
        const [qkv] = native().linear(x.handle, weight.handle, bias.handle, 'none', false, dtype)
        const [o, lse] = native().attention(qkv, sizes.heads, true)
        const sums = upload(start ?? map(zeros(bias.shape), () => Number.NaN), device)
        const last = [sums.handle, start !== undefined] as const
        const dQkv = new Tensor(native().attentionBackward(dO.handle, qkv, o, lse!, sizes.heads, ...last), device)
        const result = { dQkv: await ndArray(dQkv), sums: await ndArray(sums) }
        for (const handle of [qkv, o, lse!]) native().dispose(handle)
        disposeAll({ ...inputs, sums, dQkv })
        return result
      }

      /** Of sums over the rows of dqkv, as it is where one side of the comparison has it rounded. */
      const boundOfSums = (dQkv: NdArray) => {
        const rows = dQkv.data.length / dQkv.shape.at(-1)!
        return { roundings: 2 * rows + 16, scale: Math.sqrt(rows) * largestOf(dQkv), computeRoundings: 1 }
      }

      test.each(SIZES)('$batch x $tokens tokens, $heads heads of $headDim', async (sizes) => {
        const before = await reachableBytes(device)
        const [o, dx, dWeight, dBias] = await run(sizes, (x, layer, heads) => linearAttention(x, layer, heads).o)
        const apart = await run(sizes, (x, layer, heads) => attention(linear(x, layer), heads))
        expect(memoryStats(device).liveBytes).toBe(before)
        // The same kernels, but for the sums: the bias's gradient is not made of what was rounded.
        expect([o, dx, dWeight].map(({ data }) => data)).toEqual(apart.slice(0, 3).map(({ data }) => data))
        if (dtype === 'f32') expect(dBias.data).toEqual(apart[3].data)
        const { dQkv } = await backward(sizes)
        expectRounded('dBias', dBias, apart[3], boundOfSums(dQkv), dtype)
      })

      test.each(SIZES)('sums of $batch x $tokens rows, $heads heads of $headDim, written and added', async (sizes) => {
        const { dQkv, sums } = await backward(sizes)
        const width = sums.shape[0]!
        const expected = zeros([width])
        for (const [i, value] of dQkv.data.entries()) expected.data[i % width] += value
        expectRounded('sums', sums, expected, boundOfSums(dQkv), dtype)
        const start = map(random([width], 7), Math.fround)
        const added = await backward(sizes, start)
        expect(added.dQkv.data).toEqual(dQkv.data)
        const bound = boundOfSums(dQkv)
        const wanted = map(expected, (sum, i) => sum + start.data[i]!)
        expectRounded('added', added.sums, wanted, { ...bound, scale: bound.scale + 1 }, dtype)
      })

      test('no samples: sums of nothing', async () => {
        using qkv = uploadAs(zeros([0, 5, 6]), device, dtype)
        using dO = uploadAs(zeros([0, 5, 2]), device, dtype)
        using lse = upload(zeros([0, 1, 5]), device)
        using sums = upload(random([6], 8), device)
        using dQkv = new Tensor(
          native().attentionBackward(dO.handle, qkv.handle, dO.handle, lse.handle, 1, sums.handle, false),
          device,
        )
        expect(dQkv.shape).toEqual([0, 5, 6])
        expect([...(await sums.data())]).toEqual([0, 0, 0, 0, 0, 0])
      })
    },
  )
}
