import { describe, expect, test } from 'vitest'
import type { Device } from '../../../src/tensor/device.ts'
import { hog, normalizeImages, toUint8 } from '../../../src/tensor/ops/pixels.ts'
import { Tensor } from '../../../src/tensor/tensor.ts'
import { map, random, randomIntegers } from '../../reference/array.ts'
import { DEVICES } from '../devices.ts'
import { opCase, testOps } from './op-case.ts'

/** ImageNet's statistics, as the encoders take them. */
const MEAN = [0.485, 0.456, 0.406]
const STD = [0.229, 0.224, 0.225]

testOps(
  'normalizeImages',
  [
    [1, 1, 1],
    [3, 5, 7],
    [2, 131, 129],
  ].map(([batch, height, width]) => {
    const shape = [batch, 3, height, width]
    const bytes = Uint8Array.from(randomIntegers(batch * 3 * height * width, 256, 1))
    return opCase({
      name: `[${shape}]`,
      inputs: {},
      op: (_, device) => normalizeImages(Tensor.from(bytes, shape, device), { divisor: 255, mean: MEAN, std: STD }),
      forward: () => ({
        shape,
        data: Float64Array.from(bytes, (byte, i) => {
          const channel = Math.floor(i / (height * width)) % 3
          return (byte / 255 - MEAN[channel]) / STD[channel]
        }),
      }),
      // Mean and deviation are rounded, then a division, a difference and a division.
      rounding: () => ({ out: { roundings: 5, scale: 1 / 0.224 } }),
    })
  }),
)

/** What must come out whole at both ends, at the borders between levels, and for what is no number. */
const LEVELS = [
  -2,
  -1,
  -0.999,
  0,
  0.5,
  0.9999,
  1,
  1.5,
  1e30,
  -1e30,
  Number.NaN,
  Number.POSITIVE_INFINITY,
  Number.NEGATIVE_INFINITY,
]

for (const { device, missing } of DEVICES) {
  describe.skipIf(missing)(`toUint8 on ${device}`, () => {
    test.each([
      { channels: 1, height: 1, width: LEVELS.length },
      { channels: 3, height: 5, width: 7 },
      { channels: 4, height: 131, width: 129 },
      { channels: 3, height: 1, width: 1 },
    ])('$channels x $height x $width, f32 and f64', async ({ channels, height, width }) => {
      const shape = [2, channels, height, width]
      const values = map(random(shape, 1, 1.2), (value, i) => (i < LEVELS.length ? LEVELS[i] : value))
      const pixels = height * width
      for (const round of [Math.fround, (value: number) => value]) {
        const input = Float64Array.from(values.data, round)
        const levels = Array.from(input, (value) => {
          const level = round(round(value + 1) * 127.5)
          return Math.trunc(Math.min(Math.max(Number.isNaN(level) ? 0 : level, 0), 255))
        })
        using images = Tensor.from(round === Math.fround ? Float32Array.from(input) : input, shape, device)
        using bytes = toUint8(images)
        expect(bytes.shape).toEqual([2, height, width, channels])
        const expected = Uint8Array.from(levels, (_, i) => {
          const sample = Math.floor(i / (channels * pixels))
          return levels[(sample * channels + (i % channels)) * pixels + (Math.floor(i / channels) % pixels)]
        })
        expect(await bytes.dataAs('u8')).toEqual(expected)
      }
    })

    test.each([{ range: [-1, 1] }, { range: [0, 1] }] as const)('of $range to the nearest level', async ({ range }) => {
      const [low, high] = range
      const scale = 255 / (high - low)
      const offset = 0.5 - scale * low
      const shape = [2, 3, 131, 129]
      const values = map(random(shape, 2, 1.2), (value, i) => (i < LEVELS.length ? LEVELS[i] : value))
      for (const round of [Math.fround, (value: number) => value]) {
        // Where each level begins, and the floats beside it: what a sum of a product that was not rounded by itself has wrong.
        const unit = round === Math.fround ? 2 ** -24 : 2 ** -53
        const borders = Array.from({ length: 255 }, (_, i) => (i + 1 - offset) / scale).flatMap((border) =>
          [-2, -1, 0, 1, 2].map((units) => border * (1 + units * unit)),
        )
        const input = Float64Array.from(values.data, round)
        input.set(borders.map(round), LEVELS.length)
        using images = Tensor.from(round === Math.fround ? Float32Array.from(input) : input, shape, device)
        using bytes = toUint8(images, { range, rounding: 'nearest' })
        const found = await bytes.dataAs('u8')
        const pixels = shape[2] * shape[3]
        const wrong = Array.from(input).filter((value, i) => {
          const [sample, channel, pixel] = [Math.floor(i / (3 * pixels)), Math.floor(i / pixels) % 3, i % pixels]
          const level = Number.isNaN(value) ? 0 : round(round(value * scale) + offset)
          return found[(sample * pixels + pixel) * 3 + channel] !== Math.trunc(Math.min(Math.max(level, 0), 255))
        })
        expect(wrong).toEqual([])
      }
    })
  })

  // native/cpu/hog.h: 108 numbers of edges, of length at most 1, and 20 of colours, of length 1.
  describe.skipIf(missing)(`hog on ${device}`, () => {
    const EDGES = 108
    const WIDTH = 128
    type Paint = (x: number, y: number, channel: number) => number

    async function describeImages(
      paints: readonly Paint[],
      [height, width]: readonly number[],
      grid: readonly number[],
      on: Device = device,
    ) {
      const bytes = new Uint8Array(paints.length * 3 * height * width)
      bytes.forEach((_, i) => {
        const x = i % width
        const y = Math.floor(i / width) % height
        const channel = Math.floor(i / (width * height)) % 3
        bytes[i] = paints[Math.floor(i / (3 * width * height))](x, y, channel)
      })
      using images = Tensor.from(bytes, [paints.length, 3, height, width], on)
      using features = hog(images, grid[0], grid[1])
      expect(features.shape).toEqual([paints.length, grid[0] * grid[1], WIDTH])
      const values = await features.data()
      return Array.from({ length: values.length / WIDTH }, (_, t) => {
        const token = values.subarray(t * WIDTH, (t + 1) * WIDTH)
        return { edges: token.subarray(0, EDGES), colours: token.subarray(EDGES) }
      })
    }

    const length = (values: Float32Array) => Math.hypot(...values)
    const noise: Paint = (x, y, channel) => (x * 7919 + y * 104_729 + channel * 31 + ((x * y) % 13) * 57) % 256
    const flat: Paint = () => 128
    // 20 terms (or 108) in float32, and the square root and division after them.
    const UNIT = (108 + 8) * 2 ** -24
    // A cell's average sums its pixels along an axis after the other, or the warps of a block: at most 60 roundings a term.
    const MEAN = 60 * 2 ** -24

    test.each([
      { image: [1, 1], grid: [1, 1] },
      { image: [16, 16], grid: [4, 4] },
      { image: [33, 47], grid: [5, 3] },
      { image: [64, 70], grid: [16, 16] },
    ])('lengths of $image pixels in a grid of $grid', async ({ image, grid }) => {
      for (const { edges, colours } of await describeImages([noise, flat], image, grid)) {
        expect(Math.abs(length(colours) - 1)).toBeLessThan(UNIT)
        expect(length(edges)).toBeLessThan(1 + UNIT)
        for (const value of edges) expect(value).toBeGreaterThanOrEqual(0)
      }
    })

    test('a flat image has no edges, and every token the same colours', async () => {
      const tokens = await describeImages([flat], [24, 24], [3, 3])
      // The variance, of which 0 should be left, is within 3 MEAN / 4; the contrast, 2 sqrt(variance + 0.01²), magnifies that by 100,
      // and the division by the colours' length, which is 0.1 or more, by 10. There are two tokens.
      const tolerance = 2 * 10 * 100 * 0.75 * MEAN
      for (const { edges, colours } of tokens) {
        expect(length(edges)).toBe(0)
        colours.forEach((colour, i) => {
          expect(Math.abs(colour - tokens[0].colours[i])).toBeLessThan(tolerance)
        })
      }
    })

    test.skipIf(device === 'cpu')('an image is described as on the CPU', async () => {
      const [here, there] = await Promise.all(
        [device, 'cpu' as const].map((on) => describeImages([noise], [33, 47], [5, 3], on)),
      )
      // Angles are within 2e-6 bins of each other. An edge is a share of the length that it is divided by; a colour at most 4 means
      // and as much of a contrast, divided by 0.1 or more.
      const within = (ours: Float32Array, theirs: Float32Array, tolerance: number) =>
        ours.every((value, i) => Math.abs(value - theirs[i]) < tolerance)
      for (const [t, { edges, colours }] of here.entries()) {
        expect(edges).toSatisfy((ours: Float32Array) => within(ours, there[t].edges, 4 * MEAN + 2e-6))
        expect(colours).toSatisfy((ours: Float32Array) => within(ours, there[t].colours, 10 * 8 * MEAN))
      }
    })

    // Bin k is centred at 30 k degrees: brighter to the right is bin 0, brighter below is bin 3, and so on round.
    test.each([
      { bin: 0, paint: (x: number) => 8 * x },
      { bin: 3, paint: (_: number, y: number) => 8 * y },
      { bin: 6, paint: (x: number) => 255 - 8 * x },
      { bin: 9, paint: (_: number, y: number) => 255 - 8 * y },
    ])('a ramp votes for bin $bin', async ({ bin, paint }) => {
      const tokens = await describeImages([paint], [30, 30], [3, 3])
      const centre = tokens[4].edges.subarray(4 * 12, 5 * 12)
      expect(centre.indexOf(Math.max(...centre))).toBe(bin)
      expect(centre.filter((vote) => vote > 0)).toHaveLength(1)
    })

    test('an image is described alike alone and in a batch', async () => {
      const together = await describeImages([noise, flat, noise], [33, 47], [5, 3])
      const alone = await describeImages([noise], [33, 47], [5, 3])
      expect(together.slice(0, 15)).toEqual(alone)
      expect(together.slice(30)).toEqual(alone)
    })
  })
}
