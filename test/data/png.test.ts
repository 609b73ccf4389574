import { inflateSync } from 'node:zlib'
import { describe, expect, test } from 'vitest'
import { encodePng, encodePngAside, type PngChannels } from '../../src/data/png.ts'
import { random } from '../reference/array.ts'

const [WIDTH, HEIGHT] = [13, 9]

/** Rows of which each filter is the best of some. */
function pixelsOf(channels: number): Uint8Array {
  const noise = random([HEIGHT * WIDTH * channels], 3).data
  return Uint8Array.from(noise, (value, i) => {
    const x = Math.floor(i / channels) % WIDTH
    const y = Math.floor(i / channels / WIDTH)
    return [x ** 2, 20 * y, 8 * (x + y), 128 + 100 * value, 128 + 40 * Math.sin(x * y)][y % 5]!
  })
}

/** The filters as the specification writes them (9.2), of the bytes to the left, above and above to the left. */
const PREDICTIONS: readonly ((a: number, b: number, c: number) => number)[] = [
  () => 0,
  (a) => a,
  (_, b) => b,
  (a, b) => Math.floor((a + b) / 2),
  (a, b, c) => {
    const p = a + b - c
    const [pa, pb, pc] = [Math.abs(p - a), Math.abs(p - b), Math.abs(p - c)]
    return pa <= pb && pa <= pc ? a : pb <= pc ? b : c
  },
]

/** Every row's filtered bytes, by each filter. */
function filtered(pixels: Uint8Array, channels: number): number[][][] {
  const at = (x: number, y: number) => (x < 0 || y < 0 ? 0 : pixels[y * WIDTH * channels + x]!)
  return Array.from({ length: HEIGHT }, (_, y) =>
    PREDICTIONS.map((predict) =>
      Array.from({ length: WIDTH * channels }, (_, x) => {
        const left = x - channels
        return (at(x, y) - predict(at(left, y), at(x, y - 1), left < 0 ? 0 : at(left, y - 1)) + 256) % 256
      }),
    ),
  )
}

const sumOf = (row: readonly number[]) => row.reduce((sum, byte) => sum + Math.min(byte, 256 - byte), 0)

describe.each<PngChannels>([1, 3, 4])('a picture of %d channels', (channels) => {
  const pixels = pixelsOf(channels)

  test('each row has the filter of the smallest sum, the first of several', () => {
    const file = encodePng(pixels, WIDTH, HEIGHT, channels)
    // After the signature and the header, the length and name of the one chunk of data; behind it its checksum and the end.
    const rows = inflateSync(file.subarray(8 + 25 + 8, file.length - 4 - 12))
    const types = new Set<number>()
    filtered(pixels, channels).forEach((results, y) => {
      const sums = results.map(sumOf)
      const type = sums.indexOf(Math.min(...sums))
      const start = y * (WIDTH * channels + 1)
      expect([...rows.subarray(start, start + WIDTH * channels + 1)], `row ${y}`).toEqual([type, ...results[type]!])
      types.add(type)
    })
    expect(types.size).toBeGreaterThan(2)
  })

  test('has the same bytes where another thread compresses it', async () => {
    expect(await encodePngAside(pixels, WIDTH, HEIGHT, channels)).toEqual(encodePng(pixels, WIDTH, HEIGHT, channels))
  })
})

test('pixels of another size are refused by both', async () => {
  const error = 'encodePng: 5 bytes are not 2×1×3 pixels.'
  expect(() => encodePng(new Uint8Array(5), 1, 2, 3)).toThrow(error)
  await expect(encodePngAside(new Uint8Array(5), 1, 2, 3)).rejects.toThrow(error)
})
