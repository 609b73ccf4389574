import { expect, test } from 'vitest'
import { keyedRandom } from '../../src/data/keyed-random.ts'
import { randomResizedCrop, randomResizedCrops } from '../../src/pretraining/random-resized-crop.ts'

const SIDE = 64
const SIZE = 16
const AREA = [0.2, 1] as const
const DRAWS = 2000

/** Red rises by 4 a pixel to the right, green by 4 a pixel downwards: a crop's colours say where it lay. */
const ramps = Uint8Array.from({ length: 3 * SIDE * SIDE }, (_, i) => {
  const [channel, y, x] = [Math.floor(i / SIDE / SIDE), Math.floor(i / SIDE) % SIDE, i % SIDE]
  return 4 * [x, y, 0][channel]!
})
const images = { data: ramps, count: 1, size: SIDE }

/** Where a crop lay, and whether it was mirrored. Bicubic interpolation of a ramp is exact but for its ends and the rounding to bytes. */
function boxOf(data: Uint8Array) {
  const at = (x: number, y: number, channel: number) => data[(y * SIZE + x) * 3 + channel]!
  // From the third pixel to the last but two, whose filters lie inside.
  const [first, last] = [3, SIZE - 4]
  const slope = (low: number, high: number) => (high - low) / 4 / (last - first)
  const across = slope(at(first, 8, 0), at(last, 8, 0))
  const down = slope(at(8, first, 1), at(8, last, 1))
  const left = (isMirrored: boolean) => at(isMirrored ? last : first, 8, 0) / 4 - (first + 0.5) * Math.abs(across) + 0.5
  return {
    width: Math.abs(across) * SIZE,
    height: down * SIZE,
    left: left(across < 0),
    top: at(8, first, 1) / 4 - (first + 0.5) * down + 0.5,
    isMirrored: across < 0,
  }
}

test('boxes are of the areas, shapes and places that torchvision draws, half of them mirrored', () => {
  const random = keyedRandom(1, 2)
  const boxes = Array.from({ length: DRAWS }, () =>
    boxOf(randomResizedCrop(images, 0, { size: SIZE, area: AREA }, random).data),
  )
  // The slope is right to a byte over nine pixels: 16 / 9 / 4 pixels of a side, and a box has whole pixels.
  const rounding = SIZE / 9 / 4 + 0.5
  for (const { width, height, left, top } of boxes) {
    const [low, high] = [(width - rounding) * (height - rounding), (width + rounding) * (height + rounding)]
    expect(high / SIDE ** 2).toBeGreaterThan(AREA[0])
    expect(low / SIDE ** 2).toBeLessThan(AREA[1])
    expect((width + rounding) / (height - rounding)).toBeGreaterThan(3 / 4)
    expect((width - rounding) / (height + rounding)).toBeLessThan(4 / 3)
    expect(Math.min(left, top)).toBeGreaterThan(-1)
    expect(Math.max(left + width, top + height)).toBeLessThan(SIDE + 1)
  }
  const share = (of: (box: ReturnType<typeof boxOf>) => boolean) => boxes.filter(of).length / DRAWS
  // Four standard deviations of a half.
  expect(Math.abs(share(({ isMirrored }) => isMirrored) - 0.5)).toBeLessThan(4 * Math.sqrt(0.25 / DRAWS))
  // Every kind of box comes: wide and high, small and large, at each end.
  expect(share(({ width, height }) => width > 1.15 * height)).toBeGreaterThan(0.1)
  expect(share(({ width, height }) => height > 1.15 * width)).toBeGreaterThan(0.1)
  expect(share(({ width, height }) => width * height < 0.4 * SIDE ** 2)).toBeGreaterThan(0.15)
  expect(share(({ width, height }) => width * height > 0.8 * SIDE ** 2)).toBeGreaterThan(0.1)
  expect(share(({ left }) => left < 4)).toBeGreaterThan(0.1)
  expect(share(({ left, width }) => left + width > SIDE - 4)).toBeGreaterThan(0.1)
  expect(share(({ top, height }) => top + height > SIDE - 4)).toBeGreaterThan(0.1)
})

test('a box lies at every place with the same chances, the last ones too', () => {
  // One of four pixels, which its colour tells.
  const pixels = { data: Uint8Array.from({ length: 3 * 4 }, (_, i) => i % 4), count: 1, size: 2 }
  const options = { size: 1, area: [0.25, 0.25], aspect: [1, 1] } as const
  const random = keyedRandom(5)
  const times = [0, 0, 0, 0]
  for (let i = 0; i < DRAWS; i++) times[randomResizedCrop(pixels, 0, options, random).data[0]!]! += 1
  // Four standard deviations of a quarter.
  for (const count of times) {
    expect(Math.abs(count / DRAWS - 0.25)).toBeLessThan(4 * Math.sqrt((0.25 * 0.75) / DRAWS))
  }
})

test('a box that never fits is the whole image', () => {
  const { data } = randomResizedCrop(images, 0, { size: SIZE, area: [4, 5] }, keyedRandom(3))
  const box = boxOf(data)
  expect(Math.abs(box.width - SIDE)).toBeLessThan(1)
  expect(Math.abs(box.height - SIDE)).toBeLessThan(1)
})

test('crops of a batch are those of its images in turn, as planes', () => {
  const two = { data: Uint8Array.from([...ramps, ...ramps.map((value) => 255 - value)]), count: 2, size: SIDE }
  const options = { size: SIZE, area: AREA }
  const crops = randomResizedCrops(two, options, keyedRandom(4))
  const random = keyedRandom(4)
  const each = [0, 1].map((index) => randomResizedCrop(two, index, options, random).data)
  const planes = each.flatMap((data) => [0, 1, 2].flatMap((channel) => [...data.filter((_, i) => i % 3 === channel)]))
  expect([...crops]).toEqual(planes)
})
