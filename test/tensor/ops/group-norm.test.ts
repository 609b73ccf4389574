import { native } from '../../../src/native.ts'
import { groupNormApply, groupNormCoefficients } from '../../../src/tensor/ops/group-norm.ts'
import { channelsFirst, channelsLast } from '../../../src/tensor/ops/layout.ts'
import { wideAttention } from '../../../src/tensor/ops/wide-attention.ts'
import { Tensor } from '../../../src/tensor/tensor.ts'
import { fromValues, map, type NdArray, random, zeros } from '../../reference/array.ts'
import { groupNorm, silu } from '../../reference/group-norm.ts'
import { largestOf } from '../rounding.ts'
import { type Draw, type OpCase, opCase, testOps } from './op-case.ts'

interface Norm {
  readonly batch: number
  readonly pixels: number
  readonly channels: number
  readonly groups: number
  /** Of all values: statistics must not cancel. */
  readonly mean?: number
  readonly activation?: 'silu'
}

const NORMS: readonly Norm[] = [
  { batch: 1, pixels: 1, channels: 2, groups: 1 },
  { batch: 2, pixels: 3, channels: 6, groups: 3 },
  { batch: 1, pixels: 257, channels: 32, groups: 32, activation: 'silu' },
  { batch: 3, pixels: 70, channels: 33, groups: 11 },
  { batch: 1, pixels: 9, channels: 512, groups: 32, activation: 'silu' },
  { batch: 1, pixels: 1500, channels: 24, groups: 8 },
  { batch: 2, pixels: 300, channels: 16, groups: 4, mean: 100 },
]
const EPSILON = 1e-6

function normCase(draw: Draw, { batch, pixels, channels, groups, mean = 0, activation }: Norm): OpCase {
  const centred = draw([batch, pixels, channels], 1)
  // In steps that f16 and bf16 hold beside the mean.
  const x = mean === 0 ? centred : map(centred, (value) => mean + Math.round(value * 8))
  const weight = random([channels], 2)
  const bias = random([channels], 3)
  const plain = () => groupNorm(x, weight, bias, groups, EPSILON)
  return opCase({
    name: `${batch} x ${pixels} pixels, ${channels} channels in ${groups} groups${mean ? `, mean ${mean}` : ''}${activation ? ', SiLU' : ''}`,
    inputs: { x, weight, bias },
    compute: mean ? [] : ['x'],
    op: (t, _, dtype) =>
      groupNormApply(t.x, groupNormCoefficients(t.x, { ...t, groups, epsilon: EPSILON }), activation ?? 'none', dtype),
    forward: () => (activation ? map(plain(), silu) : plain()),
    rounding: () => {
      // x scale and the shift, whose scale is rounded once, are each as large as the mean in deviations; then a sum, and SiLU's ten.
      const deviation = mean ? 3 : 0.5
      const scale = (largestOf(x) / deviation) * largestOf(weight) * 2 + largestOf(bias)
      // The statistics are sums in float32 over a part of the pixels, put together in double.
      return { out: { roundings: 4 + (activation ? 10 : 0) + Math.ceil(Math.sqrt(pixels)), scale } }
    },
  })
}

testOps('groupNorm', (draw) => NORMS.map((norm) => normCase(draw, norm)))

/** softmax(q kᵀ / √D) v, by the definition. */
function attended(q: NdArray, k: NdArray, v: NdArray): NdArray {
  const [tokens, width] = q.shape as [number, number]
  const out = zeros(q.shape)
  for (let i = 0; i < tokens; i++) {
    const scores = Array.from({ length: tokens }, (_, j) => {
      let dot = 0
      for (let c = 0; c < width; c++) dot += q.data[i * width + c]! * k.data[j * width + c]!
      return dot / Math.sqrt(width)
    })
    const top = Math.max(...scores)
    const shares = scores.map((score) => Math.exp(score - top))
    const total = shares.reduce((sum, share) => sum + share, 0)
    for (let c = 0; c < width; c++) {
      out.data[i * width + c] = shares.reduce((sum, share, j) => sum + (share / total) * v.data[j * width + c]!, 0)
    }
  }
  return out
}

testOps('wideAttention', (draw) =>
  [
    [1, 4],
    [3, 200],
    [65, 24],
    [40, 512],
  ].map(([tokens, width]) => {
    const [q, k, v] = [1, 2, 3].map((seed) => draw([tokens, width], seed)) as [NdArray, NdArray, NdArray]
    return opCase({
      name: `${tokens} tokens of width ${width}`,
      inputs: { q, k, v },
      compute: ['q', 'k', 'v'],
      op: (t) => wideAttention(t.q, t.k, t.v),
      forward: () => attended(q, k, v),
      rounding: () => ({
        out: {
          // A score's error, in which √width terms of at most 1 / √width meet, moves a share by its own size; then the sum over tokens.
          roundings: width + tokens + 12,
          scale: largestOf(v),
          computeRoundings: 1,
        },
      }),
    })
  }),
)

testOps(
  'softmax',
  [
    ...[
      [1, 1],
      [3, 5],
      [2, 17],
      [5, 300],
      [1, 4096],
    ].map((shape) => ({ x: random(shape, 1, 20), factor: 0.37 })),
    // Beyond e^88, where float32 ends, were they not taken from the largest of their row: the products are exact, and so are differences.
    { x: fromValues([2, 3], [100, 99, -100, -101, -300, -100]), factor: 1 },
  ].map(({ x, factor }) => {
    const [rows, columns] = x.shape as [number, number]
    return opCase({
      name: `[${rows}, ${columns}] up to ${Math.round(largestOf(x))}, by ${factor}`,
      inputs: { x },
      op: (t, device) => new Tensor(native().softmax(t.x.handle, factor, 'f32'), device),
      forward: () => {
        const out = zeros(x.shape)
        for (let row = 0; row < rows; row++) {
          const values = [...x.data.subarray(row * columns, (row + 1) * columns)].map((value) => value * factor)
          const shares = values.map((value) => Math.exp(value - Math.max(...values)))
          const total = shares.reduce((sum, share) => sum + share, 0)
          out.data.set(
            shares.map((share) => share / total),
            row * columns,
          )
        }
        return out
      },
      // The argument's rounding, up to 15 of them in units of the result, the exponential's, and those of the sum, of like sign.
      rounding: () => ({ out: { roundings: 40 + columns / 16, scale: 1 } }),
    })
  }),
)

testOps(
  'softClamp',
  [1, 7, 1000].map((count) => {
    const x = random([count], 1, 12)
    return opCase({
      name: `${count} elements`,
      inputs: { x },
      op: (t, device) => new Tensor(native().softClamp(t.x.handle, 3), device),
      forward: () => map(x, (value) => 3 * Math.tanh(value / 3)),
      rounding: () => ({ out: { roundings: 8, scale: 3 } }),
    })
  }),
)

const EXACT = { roundings: 0, scale: 0 }
testOps('channelsLast and back', (draw) =>
  [
    [1, 1, 1, 1],
    [2, 3, 5, 7],
    [1, 130, 4, 3],
  ].map((shape) => {
    const x = draw(shape, 1)
    return opCase({
      name: `[${shape}]`,
      inputs: { x },
      op: (t, _, dtype) => channelsFirst(channelsLast(t.x, dtype)),
      forward: () => x,
      rounding: () => ({ out: EXACT }),
    })
  }),
)

testOps(
  'channelsLast',
  [[2, 3, 2, 5]].map((shape) => {
    const x = random(shape, 1)
    return opCase({
      name: `[${shape}]`,
      inputs: { x },
      op: (t) => channelsLast(t.x),
      forward: () => {
        const [count, channels, height, width] = shape as [number, number, number, number]
        const out = zeros([count, height, width, channels])
        for (let i = 0; i < out.data.length; i++) {
          const pixel = Math.floor(i / channels)
          const n = Math.floor(pixel / (height * width))
          out.data[i] = x.data[(n * channels + (i % channels)) * height * width + (pixel % (height * width))]!
        }
        return out
      },
      rounding: () => ({ out: EXACT }),
    })
  }),
)
