import { expect, test } from 'vitest'
import { admInceptionInput } from '../../src/evaluation/inception-input.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { random } from '../reference/array.ts'
import { DEVICES } from '../tensor/devices.ts'

const OUT = 299

/** TensorFlow 1's resize_bilinear(align_corners=False) of (x − 128) / 128, pixel by pixel. */
function resized(pixels: Uint8Array, height: number, width: number): Float64Array {
  const out = new Float64Array(OUT * OUT * 3)
  for (let y = 0; y < OUT; y++) {
    for (let x = 0; x < OUT; x++) {
      const [sy, sx] = [y * (height / OUT), x * (width / OUT)]
      const [y0, x0] = [Math.floor(sy), Math.floor(sx)]
      const [y1, x1] = [Math.min(y0 + 1, height - 1), Math.min(x0 + 1, width - 1)]
      for (let c = 0; c < 3; c++) {
        const at = (row: number, column: number) => pixels[(c * height + row) * width + column]!
        const top = at(y0, x0) + (at(y0, x1) - at(y0, x0)) * (sx - x0)
        const bottom = at(y1, x0) + (at(y1, x1) - at(y1, x0)) * (sx - x0)
        out[(y * OUT + x) * 3 + c] = (top + (bottom - top) * (sy - y0) - 128) / 128
      }
    }
  }
  return out
}

for (const { device, missing } of DEVICES) {
  test.skipIf(missing).each([
    [32, 32],
    [40, 71],
    [299, 299],
    [310, 330],
  ])(`the ADM suite's input of %i x %i on ${device}`, async (height, width) => {
    const pixels = Uint8Array.from(random([3 * height * width], 4).data, (value) => 128 + 60 * value)
    using images = Tensor.from(pixels, [1, 3, height, width], device)
    using input = admInceptionInput(images)
    expect(input.shape).toEqual([1, OUT, OUT, 3])
    const actual = await input.data()
    const expected = resized(pixels, height, width)
    let largest = 0
    actual.forEach((value, i) => {
      largest = Math.max(largest, Math.abs(value - expected[i]!))
    })
    // A coordinate of up to 330 in float32 is off by 2^-16 at most, and neighbours by at most 2; then a few roundings of numbers below 1.
    expect(largest).toBeLessThan(4 * 2 ** -16 * 2 + 4 * 2 ** -24)
  })
}
