import type { RgbImage } from './rgb-image.ts'

/**
 * Lays images side by side on black, as torchvision's `make_grid` does with its default padding of 2 pixels and as
 * REPA's `array2grid` shows samples: round(√N) images in a row.
 *
 * @param images `N × H × W × 3`: bytes, or floats in [0, 1], which are clamped and rounded to bytes
 * @param shape `[N, H, W, 3]`
 * @throws {RangeError} if the shape is another or `images` does not fill it
 */
export function imageGrid(
  images: Uint8Array | Float32Array,
  shape: readonly number[],
  { columns = Math.round(Math.sqrt(shape[0] ?? 0)), padding = 2 }: { columns?: number; padding?: number } = {},
): RgbImage {
  const [count = 0, height = 0, width = 0, channels] = shape
  if (shape.length !== 4 || channels !== 3 || count < 1 || images.length !== count * 3 * height * width) {
    throw new RangeError(`imageGrid: ${images.length} values of shape [${shape}] are not [N, H, W, 3] images.`)
  }
  if (!(columns >= 1)) throw new RangeError(`imageGrid: ${columns} columns; at least one is needed.`)
  const across = Math.min(columns, count)
  const down = Math.ceil(count / across)
  const gridWidth = across * (width + padding) + padding
  const gridHeight = down * (height + padding) + padding
  const data = new Uint8Array(gridWidth * gridHeight * 3)
  const length = width * 3
  for (let n = 0; n < count; n++) {
    const left = padding + (n % across) * (width + padding)
    const top = padding + Math.floor(n / across) * (height + padding)
    for (let y = 0; y < height; y++) {
      const row = images.subarray((n * height + y) * length, (n * height + y + 1) * length)
      data.set(row instanceof Float32Array ? row.map(toByte) : row, ((top + y) * gridWidth + left) * 3)
    }
  }
  return { width: gridWidth, height: gridHeight, data }
}

/** A number of [0, 1] as REPA's `array2grid` makes a byte of it. */
const toByte = (value: number) => Math.floor(Math.min(Math.max(value, 0), 1) * 255 + 0.5)
