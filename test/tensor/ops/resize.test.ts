import { describe, expect, test } from 'vitest'
import { resizeGrid, resizePlanes } from '../../../src/tensor/ops/pixels.ts'
import { Tensor } from '../../../src/tensor/tensor.ts'
import { type NdArray, random, zeros } from '../../reference/array.ts'
import { resize } from '../../reference/resize.ts'
import { DEVICES } from '../devices.ts'
import { largestOf } from '../rounding.ts'
import { type OpCase, opCase, testOps } from './op-case.ts'

interface Resize {
  readonly from: readonly [height: number, width: number]
  readonly to: readonly [height: number, width: number]
  readonly filter: 'bilinear' | 'bicubic'
  readonly antialias: boolean
  /** Output over input, as torch's scale_factor. */
  readonly factor?: readonly [number, number]
}

const SIZES: readonly Pick<Resize, 'from' | 'to'>[] = [
  { from: [1, 1], to: [3, 5] },
  { from: [7, 7], to: [7, 7] },
  { from: [3, 8], to: [8, 3] },
  { from: [37, 37], to: [16, 17] },
  { from: [9, 4], to: [1, 1] },
  { from: [5, 70], to: [6, 9] },
]
const RESIZES: readonly Resize[] = SIZES.flatMap((sizes) =>
  (['bilinear', 'bicubic'] as const).flatMap((filter) =>
    [false, true].map((antialias) => ({ ...sizes, filter, antialias })),
  ),
)
/** DINOv2's positions: the factor is 0.1 of a patch more than the sizes say. */
const DINO: Resize = {
  from: [37, 37],
  to: [16, 16],
  filter: 'bicubic',
  antialias: false,
  factor: [16.1 / 37, 16.1 / 37],
}

const text = ({ from, to, filter, antialias }: Resize) =>
  `${from.join(' x ')} to ${to.join(' x ')}, ${filter}${antialias ? ', antialias' : ''}`

/** Σ|w| of a bicubic row is at most 1.6; a sum has as many terms as the filter's width, and its weights are rounded. */
function bound({ from, to, filter, antialias }: Resize, x: NdArray) {
  const stretch = antialias ? Math.max(1, from[0] / to[0], from[1] / to[1]) : 1
  const taps = (filter === 'bicubic' ? 4 : 2) * stretch + 2
  return { out: { roundings: Math.ceil(2 * taps) + 4, scale: 1.6 ** 2 * largestOf(x) } }
}

function options({ filter, antialias, factor }: Resize) {
  return { filter, antialias, scale: factor && ([1 / factor[0], 1 / factor[1]] as const) }
}

function expected(x: NdArray, { to, filter, antialias, factor }: Resize): NdArray {
  return resize(x, to[0], to[1], { method: filter, antialias, scaleFactor: factor })
}

function planesCase(table: Resize): OpCase {
  const x = random([2, 3, ...table.from], 1)
  return opCase({
    name: text(table),
    inputs: { x },
    op: (t) => resizePlanes(t.x, table.to[0], table.to[1], options(table)),
    forward: () => expected(x, table),
    rounding: () => bound(table, x),
  })
}

/** Channels last: what is resized is every channel's plane. */
function gridCase(table: Resize, channels: number): OpCase {
  const [h, w] = table.from
  const x = random([1, h, w, channels], 1)
  const planes = zeros([channels, h, w])
  for (let i = 0; i < planes.data.length; i++)
    planes.data[i] = x.data[(i % (h * w)) * channels + Math.floor(i / (h * w))]
  return opCase({
    name: `${text(table)}, ${channels} channels`,
    inputs: { x },
    op: (t) => resizeGrid(t.x, table.to[0], table.to[1], options(table)),
    forward: () => {
      const resized = expected(planes, table)
      const pixels = table.to[0] * table.to[1]
      const out = zeros([1, ...table.to, channels])
      for (let i = 0; i < out.data.length; i++) {
        out.data[i] = resized.data[(i % channels) * pixels + Math.floor(i / channels)]
      }
      return out
    },
    rounding: () => bound(table, x),
  })
}

testOps('resizePlanes', RESIZES.map(planesCase))
testOps('resizeGrid', [...RESIZES.map((table) => gridCase(table, 5)), gridCase(DINO, 72), gridCase(DINO, 1)])

describe('the sample points are those of torch, whose scale is rounded to float32', () => {
  // Weights of inputs 252 to 255 for output 190 of 192, measured on torch 1.13. At exactly 253.5 they would be symmetric.
  const torch = [-0.09374857, 0.59374011, 0.59375989, -0.09375143]

  for (const { device, missing } of DEVICES) {
    test.skipIf(missing).each(torch.map((weight, i) => ({ input: 252 + i, weight })))(
      `$input of 256 on ${device}`,
      async ({ input, weight }) => {
        const row = new Float32Array(256)
        row[input] = 1
        using x = Tensor.from(row, [1, 1, 1, 256], device)
        using resized = resizePlanes(x, 1, 192, { filter: 'bicubic' })
        // Torch computes the weight itself in float32, in four roundings of numbers up to 4.
        expect(Math.abs((await resized.data())[190]! - weight)).toBeLessThan(4 * 4 * 2 ** -24)
      },
    )
  }
})
