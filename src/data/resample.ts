import type { RgbImage } from './rgb-image.ts'

/** Pillow's antialiased filters: the mean of the covered area; cubic with a = −0.5; windowed sinc of three lobes. */
export type ResamplingFilter = 'box' | 'bicubic' | 'lanczos'

/** The part of the resized picture that is wanted, in pixels of the resized picture. */
export interface ResampleWindow {
  readonly left: number
  readonly top: number
  readonly width: number
  readonly height: number
}

// Pillow's 8-bit path keeps weights as integers with 32 − 8 − 2 fractional bits: the 8 bits of a sample and two bits of
// headroom for the filters' overshoot still fit an int32 sum (Pillow 9.4, src/libImaging/Resample.c).
const FRACTION_BITS = 22
const ONE_HALF = 1 << (FRACTION_BITS - 1)

interface Kernel {
  readonly support: number
  readonly weight: (x: number) => number
}

const KERNELS: Readonly<Record<ResamplingFilter, Kernel>> = {
  box: { support: 0.5, weight: (x) => (x > -0.5 && x <= 0.5 ? 1 : 0) },
  bicubic: { support: 2, weight: cubic },
  lanczos: { support: 3, weight: (x) => (x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0) },
}

/** Keys' cubic convolution kernel with a = −0.5. */
function cubic(x: number): number {
  const a = -0.5
  x = Math.abs(x)
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1
  if (x < 2) return (((x - 5) * x + 8) * x - 4) * a
  return 0
}

function sinc(x: number): number {
  if (x === 0) return 1
  x *= Math.PI
  return Math.sin(x) / x
}

/** The fixed-point weights of one axis: output i is the sum over `counts[i]` inputs from `starts[i]` on. */
interface AxisWeights {
  readonly starts: Int32Array
  readonly counts: Int32Array
  /** `taps` weights for each output. */
  readonly weights: Int32Array
  readonly taps: number
}

function axisWeights(inSize: number, outSize: number, first: number, count: number, filter: Kernel): AxisWeights {
  const scale = inSize / outSize
  // Antialiasing: when shrinking, the kernel is stretched over the inputs that one output covers.
  const stretch = Math.max(scale, 1)
  const support = filter.support * stretch
  const taps = Math.ceil(support) * 2 + 1
  const starts = new Int32Array(count)
  const counts = new Int32Array(count)
  const weights = new Int32Array(count * taps)
  const row = new Float64Array(taps)
  for (let i = 0; i < count; i++) {
    const center = (first + i + 0.5) * scale
    const start = Math.max(Math.trunc(center - support + 0.5), 0)
    const n = Math.min(Math.trunc(center + support + 0.5), inSize) - start
    let sum = 0
    for (let k = 0; k < n; k++) {
      const weight = filter.weight((k + start - center + 0.5) * (1 / stretch))
      row[k] = weight
      sum += weight
    }
    for (let k = 0; k < n; k++) {
      const weight = sum === 0 ? row[k]! : row[k]! / sum
      weights[i * taps + k] = Math.trunc(weight * (1 << FRACTION_BITS) + (weight < 0 ? -0.5 : 0.5))
    }
    starts[i] = start
    counts[i] = n
  }
  return { starts, counts, weights, taps }
}

/**
 * Resizes to `width × height` with the same bits as Pillow's `Image.resize(size, filter)` on an RGB image: a horizontal
 * pass rounded to 8 bits, then a vertical one. With a `window` only that part of the result is computed and returned,
 * so an extreme aspect ratio costs no more than its crop.
 */
export function resize(
  image: RgbImage,
  width: number,
  height: number,
  filter: ResamplingFilter,
  window: ResampleWindow = { left: 0, top: 0, width, height },
): RgbImage {
  const { left, top } = window
  if (
    !(Number.isInteger(width) && Number.isInteger(height) && width >= 1 && height >= 1) ||
    !(left >= 0 && top >= 0 && window.width >= 1 && window.height >= 1) ||
    !(left + window.width <= width && top + window.height <= height)
  ) {
    throw new RangeError(
      `resize: a window of ${window.width}×${window.height} at (${left}, ${top}) does not lie inside ${width}×${height}.`,
    )
  }
  const kernel = KERNELS[filter]
  const vertical = axisWeights(image.height, height, top, window.height, kernel)
  // Only the rows that the vertical pass reads go through the horizontal one.
  const firstRow = vertical.starts[0]!
  const last = window.height - 1
  const rows = vertical.starts[last]! + vertical.counts[last]! - firstRow
  const horizontal = axisWeights(image.width, width, left, window.width, kernel)
  const narrow =
    image.width === width && window.width === width
      ? image.data.subarray(firstRow * width * 3, (firstRow + rows) * width * 3)
      : resampleRows(image, firstRow, rows, horizontal, window.width)
  const stride = window.width * 3
  const data =
    image.height === height
      ? narrow.slice((top - firstRow) * stride, (top - firstRow + window.height) * stride)
      : resampleColumns(narrow, stride, firstRow, vertical, window.height)
  return { width: window.width, height: window.height, data }
}

function resampleRows(image: RgbImage, firstRow: number, rows: number, axis: AxisWeights, width: number): Uint8Array {
  const { starts, counts, weights, taps } = axis
  const source = image.data
  // The clamped array saturates at 0 and 255, as Pillow's clip8 does.
  const out = new Uint8ClampedArray(rows * width * 3)
  let o = 0
  for (let y = 0; y < rows; y++) {
    const row = (firstRow + y) * image.width * 3
    for (let x = 0; x < width; x++) {
      let red = ONE_HALF
      let green = ONE_HALF
      let blue = ONE_HALF
      const from = x * taps
      const to = from + counts[x]!
      let s = row + starts[x]! * 3
      for (let k = from; k < to; k++, s += 3) {
        const weight = weights[k]!
        red = (red + Math.imul(source[s]!, weight)) | 0
        green = (green + Math.imul(source[s + 1]!, weight)) | 0
        blue = (blue + Math.imul(source[s + 2]!, weight)) | 0
      }
      out[o] = red >> FRACTION_BITS
      out[o + 1] = green >> FRACTION_BITS
      out[o + 2] = blue >> FRACTION_BITS
      o += 3
    }
  }
  return new Uint8Array(out.buffer)
}

/** `source` holds rows of `stride` bytes, the first of them being row `firstRow` of the picture. */
function resampleColumns(
  source: Uint8Array,
  stride: number,
  firstRow: number,
  axis: AxisWeights,
  height: number,
): Uint8Array {
  const { starts, counts, weights, taps } = axis
  const out = new Uint8ClampedArray(height * stride)
  let o = 0
  for (let y = 0; y < height; y++) {
    const from = y * taps
    const to = from + counts[y]!
    const top = (starts[y]! - firstRow) * stride
    // A pixel at a time, as in the rows: three sums share the load of each weight.
    for (let x = 0; x < stride; x += 3) {
      let red = ONE_HALF
      let green = ONE_HALF
      let blue = ONE_HALF
      let s = top + x
      for (let k = from; k < to; k++, s += stride) {
        const weight = weights[k]!
        red = (red + Math.imul(source[s]!, weight)) | 0
        green = (green + Math.imul(source[s + 1]!, weight)) | 0
        blue = (blue + Math.imul(source[s + 2]!, weight)) | 0
      }
      out[o] = red >> FRACTION_BITS
      out[o + 1] = green >> FRACTION_BITS
      out[o + 2] = blue >> FRACTION_BITS
      o += 3
    }
  }
  return new Uint8Array(out.buffer)
}

/**
 * Halves both sides with the box filter: Pillow's `resize((width // 2, height // 2), BOX)`. Where both sides are even
 * every weight is exactly one half, and the two rounded passes become one loop over 2×2 blocks.
 */
export function halve(image: RgbImage): RgbImage {
  const width = image.width >> 1
  const height = image.height >> 1
  if (image.width % 2 !== 0 || image.height % 2 !== 0) return resize(image, width, height, 'box')
  const source = image.data
  const stride = image.width * 3
  const data = new Uint8Array(width * height * 3)
  let o = 0
  for (let y = 0; y < height; y++) {
    let s = 2 * y * stride
    for (let x = 0; x < width; x++) {
      for (let c = 0; c < 3; c++, s++, o++) {
        const upper = (source[s]! + source[s + 3]! + 1) >> 1
        const lower = (source[s + stride]! + source[s + stride + 3]! + 1) >> 1
        data[o] = (upper + lower + 1) >> 1
      }
      s += 3
    }
  }
  return { width, height, data }
}
