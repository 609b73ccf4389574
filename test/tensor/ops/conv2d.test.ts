import { describe, expect, test } from 'vitest'
import type { ConvActivation } from '../../../src/native.ts'
import { type Conv2dOptions, conv2d, type Padding, pool2d } from '../../../src/tensor/ops/conv2d.ts'
import { Tensor } from '../../../src/tensor/tensor.ts'
import { map, type NdArray, random, sum } from '../../reference/array.ts'
import * as reference from '../../reference/conv2d.ts'
import { silu } from '../../reference/group-norm.ts'
import { DEVICES } from '../devices.ts'
import { largestNorm, largestOf, squares } from '../rounding.ts'
import { type Draw, type OpCase, opCase, testOps, upload } from './op-case.ts'

interface Convolution {
  readonly batch?: number
  readonly image: readonly [height: number, width: number]
  readonly channels: number
  readonly outputs: number
  readonly kernel: readonly [height: number, width: number]
  readonly stride?: readonly [number, number]
  readonly padding?: Padding
  readonly upsample?: 1 | 2
  readonly norm?: ConvActivation
  readonly bias?: boolean
  readonly residual?: boolean
  readonly activation?: ConvActivation
  /** x comes in f32 where the weight is narrower. */
  readonly wideInput?: boolean
  /** The result has the weight's dtype. */
  readonly narrowResult?: boolean
}

const CONVOLUTIONS: readonly Convolution[] = [
  { image: [1, 1], channels: 1, outputs: 1, kernel: [1, 1] },
  { image: [1, 1], channels: 2, outputs: 3, kernel: [3, 3], padding: [1, 1, 1, 1], bias: true },
  { batch: 2, image: [5, 7], channels: 3, outputs: 5, kernel: [3, 3], padding: [1, 1, 1, 1], bias: true },
  // The Stable Diffusion VAE's way down: zeros on two sides.
  { image: [8, 10], channels: 16, outputs: 40, kernel: [3, 3], stride: [2, 2], padding: [0, 1, 0, 1], bias: true },
  { batch: 3, image: [4, 9], channels: 24, outputs: 7, kernel: [1, 7], padding: [0, 0, 3, 3], activation: 'relu' },
  { image: [9, 4], channels: 24, outputs: 33, kernel: [7, 1], padding: [3, 3, 0, 0], bias: true, activation: 'silu' },
  { image: [6, 5], channels: 4, outputs: 2, kernel: [2, 3], stride: [2, 1], padding: [1, 0, 2, 1], narrowResult: true },
  { image: [3, 31], channels: 128, outputs: 33, kernel: [3, 3], padding: [1, 1, 1, 1], bias: true, residual: true },
  // Channels whose pixels meet in the caches, and more of them than one run of summands has.
  { image: [2, 3], channels: 512, outputs: 17, kernel: [3, 3], padding: [1, 1, 1, 1], norm: 'silu', bias: true },
  {
    image: [2, 17],
    channels: 257,
    outputs: 20,
    kernel: [3, 1],
    padding: [1, 1, 0, 0],
    residual: true,
    wideInput: true,
  },
  { batch: 2, image: [3, 5], channels: 5, outputs: 6, kernel: [3, 3], padding: [1, 1, 1, 1], upsample: 2 },
  { image: [7, 3], channels: 32, outputs: 66, kernel: [3, 3], padding: [1, 1, 1, 1], upsample: 2, norm: 'none' },
  {
    batch: 2,
    image: [9, 16],
    channels: 8,
    outputs: 8,
    kernel: [3, 3],
    padding: [1, 1, 1, 1],
    norm: 'relu',
    residual: true,
    activation: 'relu',
    narrowResult: true,
  },
  { batch: 2, image: [4, 6], channels: 64, outputs: 64, kernel: [1, 1], norm: 'silu', wideInput: true, bias: true },
  { image: [2, 301], channels: 3, outputs: 1, kernel: [3, 3], padding: [1, 1, 1, 1], bias: true },
  { image: [40, 3], channels: 20, outputs: 130, kernel: [5, 2], stride: [3, 1], padding: [2, 2, 1, 0], bias: true },
]

function name(table: Convolution): string {
  const { image, channels, outputs, kernel, ...rest } = table
  const more = Object.entries(rest).map(([key, value]) => `${key} ${value}`)
  return [`${image.join(' x ')}, ${channels} to ${outputs} channels by ${kernel.join(' x ')}`, ...more].join(', ')
}

const ACTIVATIONS = { none: (v: number) => v, silu, relu: (v: number) => Math.max(0, v) } as const

function convCase(draw: Draw, table: Convolution): OpCase {
  const { batch = 1, image, channels, outputs, kernel, stride, padding, upsample, norm, activation = 'none' } = table
  const x = draw([batch, ...image, channels], 1)
  const weight = draw([outputs, ...kernel, channels], 2)
  const coefficients = random([batch, 2, channels], 3)
  const geometry = { ...(stride && { stride }), ...(padding && { padding }), ...(upsample && { upsample }) }
  const bias = table.bias ? random([outputs], 4) : undefined
  // Of the result's shape, which the reference knows.
  const plain = (input: NdArray, by: NdArray) => reference.conv2d(input, by, undefined, geometry)
  const residual = table.residual ? random(plain(x, weight).shape, 5) : undefined
  const perPixel = image[0] * image[1] * channels
  const affine = (value: number, i: number, combine: (scaled: number, shift: number) => number) => {
    const at = Math.floor(i / perPixel) * 2 * channels + (i % channels)
    return combine(value * coefficients.data[at]!, coefficients.data[at + channels]!)
  }
  const input = norm ? map(x, (v, i) => affine(v, i, (scaled, shift) => ACTIVATIONS[norm](scaled + shift))) : x
  const magnitude = norm ? map(x, (v, i) => affine(v, i, (scaled, shift) => Math.abs(scaled) + Math.abs(shift))) : x
  const options = (t: Readonly<Record<string, Tensor>>, dtype: 'f32' | 'bf16' | 'f16'): Conv2dOptions => ({
    ...geometry,
    padding: padding ?? 0,
    activation,
    dtype: table.narrowResult ? dtype : 'f32',
    ...(norm && { norm: { coefficients: t.coefficients!, activation: norm } }),
    ...(residual && { residual: t.residual! }),
  })
  return opCase({
    name: name(table),
    // What the op does not take is there all the same: a table's inputs have fixed names.
    inputs: { x, weight, coefficients, bias: bias ?? random([outputs], 4), residual: residual ?? random([1], 5) },
    compute: table.wideInput ? ['weight'] : ['x', 'weight'],
    op: (t, _, dtype) => conv2d(t.x, { weight: t.weight, bias: bias && t.bias }, options(t, dtype)),
    forward: () => {
      const summed = reference.conv2d(input, weight, bias, geometry)
      return map(residual ? sum(summed, residual) : summed, ACTIVATIONS[activation])
    },
    rounding: () => {
      const scale = largestNorm(plain(squares(magnitude), squares(weight))) + (bias ? 1 : 0) + (residual ? 1 : 0)
      // SiLU is of a sum that has been rounded; its slope is nowhere beyond 1.1.
      const ofSum =
        activation === 'silu' ? (1.1 * largestOf(reference.conv2d(input, weight, bias, geometry))) / scale : 0
      return {
        out: {
          // The sum with bias and residual; the normalisation is two roundings and SiLU ten more, on either side.
          roundings: kernel[0] * kernel[1] * channels + 2 + (norm ? 12 : 0) + (activation === 'silu' ? 10 : 0),
          scale,
          // What is normalised or converted is rounded before it is multiplied. Upsampled, up to four terms have the same rounding: √4.
          computeRoundings: (norm || table.wideInput ? (upsample ?? 1) : 0) + ofSum,
        },
      }
    },
  })
}

testOps('conv2d', (draw) => CONVOLUTIONS.map((table) => convCase(draw, table)))

const POOLINGS = [
  { image: [1, 1], channels: 1, kernel: [1, 1], stride: [1, 1], padding: [0, 0, 0, 0] },
  { image: [7, 5], channels: 3, kernel: [3, 3], stride: [2, 2], padding: [0, 0, 0, 0] },
  { image: [4, 6], channels: 33, kernel: [3, 3], stride: [1, 1], padding: [1, 1, 1, 1] },
  { image: [8, 3], channels: 64, kernel: [8, 3], stride: [1, 1], padding: [0, 0, 0, 0] },
  { image: [5, 9], channels: 2, kernel: [2, 4], stride: [3, 2], padding: [1, 0, 3, 2] },
] as const

testOps(
  'pool2d',
  POOLINGS.flatMap(({ image, channels, kernel, stride, padding }) =>
    (['max', 'average', 'average-including-zeros'] as const).map((kind) => {
      const x = random([2, ...image, channels], 1)
      return opCase({
        name: `${kind} of ${image.join(' x ')} x ${channels} by ${kernel.join(' x ')}, stride ${stride}, padding ${padding}`,
        inputs: { x },
        op: (t) => pool2d(t.x, { kind, kernel, stride, padding }),
        forward: () => reference.pool2d(x, kind, kernel, stride, padding),
        rounding: () => ({ out: { roundings: kernel[0] * kernel[1] + 2, scale: largestOf(x) } }),
      })
    }),
  ),
)

for (const { device, missing } of DEVICES) {
  describe.skipIf(missing)(`convolution and pooling refuse on ${device}`, () => {
    const tensor = (...shape: number[]) => Tensor.zeros(shape, device)
    const layer = (...shape: number[]) => ({ weight: tensor(...shape), bias: undefined })
    test.each<[string, () => Tensor, RegExp]>([
      [
        'other channels',
        () => conv2d(tensor(1, 4, 4, 3), layer(2, 3, 3, 4)),
        /weight has shape \[2, 3, 3, 4\].*the 3 channels of x \[1, 4, 4, 3\]/,
      ],
      [
        'a window larger than the image',
        () => conv2d(tensor(1, 2, 2, 3), layer(2, 5, 5, 3), { padding: 1 }),
        /a window of 5 x 5 does not fit an image of 2 x 2/,
      ],
      [
        'a bias of another size',
        () => conv2d(tensor(1, 4, 4, 3), { weight: tensor(2, 1, 1, 3), bias: tensor(3) }),
        /bias has shape \[3\]; expected \[2\]/,
      ],
      ['half a stride', () => conv2d(tensor(1, 4, 4, 3), layer(2, 1, 1, 3), { stride: [1, 1.5] }), /stride holds 1.5/],
      [
        'SiLU on a sum',
        () => conv2d(tensor(1, 4, 4, 3), layer(2, 1, 1, 3), { activation: 'silu', residual: tensor(1, 4, 4, 2) }),
        /a residual goes with the activations none and relu/,
      ],
      [
        'a padding as large as the window',
        () => pool2d(tensor(1, 4, 4, 3), { kind: 'max', kernel: [2, 2], stride: [1, 1], padding: [2, 0, 0, 0] }),
        /a window could hold no pixel/,
      ],
    ])('%s', (_, run, message) => {
      expect(run).toThrow(message)
    })

    test("a result in the residual's memory has the bits of one in its own", async () => {
      const inputs = [
        [1, 5, 6, 7],
        [9, 3, 3, 7],
        [1, 5, 6, 9],
      ].map((shape, i) => upload(random(shape, i + 1), device))
      const [x, weight, residual] = inputs as [Tensor, Tensor, Tensor]
      using apart = conv2d(x, { weight, bias: undefined }, { residual })
      using into = conv2d(x, { weight, bias: undefined }, { residual, intoResidual: true })
      expect(await into.data()).toEqual(await apart.data())
      expect(await residual.data()).toEqual(await apart.data())
      for (const tensor of inputs) tensor.dispose()
    })

    test('the maximum of a window with a NaN is NaN, and so is what ReLU makes of one', async () => {
      using x = Tensor.from(Float32Array.of(1, Number.NaN, 3, 4), [1, 2, 2, 1], device)
      using pooled = pool2d(x, { kind: 'max', kernel: [2, 2], stride: [2, 2] })
      expect(await pooled.item()).toBeNaN()
      using weight = Tensor.full([1, 1, 1, 1], 1, device)
      using out = conv2d(x, { weight, bias: undefined }, { activation: 'relu' })
      expect([...(await out.data())]).toEqual([1, Number.NaN, 3, 4])
    })
  })
}
