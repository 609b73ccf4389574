import type { RgbImage } from './rgb-image.ts'

/** The most bytes that a picture has here: what one array of any of Node's versions holds, and what programs that show PNGs take. */
const MOST_BYTES = 2 ** 31 - 1

export interface GridOptions {
  /** Images in a row. Default: round(√N). */
  readonly columns?: number | undefined
  /** Pixels between images and around them. */
  readonly padding?: number
}

/**
 * Images side by side on black, as torchvision's `make_grid` lays them with its default padding of 2 pixels and as REPA's `array2grid` shows
 * samples: round(√N) images in a row. They are put into their places one by one.
 */
export class ImageGrid {
  readonly image: RgbImage
  readonly #width: number
  readonly #height: number
  readonly #across: number
  readonly #padding: number

  /**
   * @param count of images of `height` x `width`
   * @throws {RangeError} if the picture would not fit into one array
   */
  constructor(
    count: number,
    height: number,
    width: number,
    { columns = Math.round(Math.sqrt(count)), padding = 2 }: GridOptions = {},
  ) {
    if (!(count >= 1)) throw new RangeError(`ImageGrid: ${count} images; at least one is needed.`)
    if (!(columns >= 1)) throw new RangeError(`ImageGrid: ${columns} columns; at least one is needed.`)
    const across = Math.min(columns, count)
    const down = Math.ceil(count / across)
    const gridWidth = across * (width + padding) + padding
    const gridHeight = down * (height + padding) + padding
    const bytes = gridWidth * gridHeight * 3
    if (bytes > MOST_BYTES) {
      const most = Math.floor(MOST_BYTES / 3 / ((width + padding) * (height + padding)))
      throw new RangeError(
        `A grid of ${count} images of ${height} x ${width} would be a picture of ${gridHeight} x ${gridWidth} pixels, ${bytes} bytes; at most ${MOST_BYTES} fit into one. Show some ${most} of them at most.`,
      )
    }
    this.image = { width: gridWidth, height: gridHeight, data: new Uint8Array(bytes) }
    this.#width = width
    this.#height = height
    this.#across = across
    this.#padding = padding
  }

  /** Image number n, bytes [height, width, 3]. */
  put(n: number, pixels: Uint8Array): void {
    const left = this.#padding + (n % this.#across) * (this.#width + this.#padding)
    const top = this.#padding + Math.floor(n / this.#across) * (this.#height + this.#padding)
    const rowBytes = this.#width * 3
    for (let y = 0; y < this.#height; y++) {
      const row = pixels.subarray(y * rowBytes, (y + 1) * rowBytes)
      this.image.data.set(row, ((top + y) * this.image.width + left) * 3)
    }
  }
}

/**
 * A grid of images that are there together.
 *
 * @param images `N × H × W × 3`: bytes, or floats in [0, 1], which are clamped and rounded to bytes
 * @param shape `[N, H, W, 3]`
 * @throws {RangeError} if the shape is another or `images` does not fill it
 */
export function imageGrid(
  images: Uint8Array | Float32Array,
  shape: readonly number[],
  options: GridOptions = {},
): RgbImage {
  const [count = 0, height = 0, width = 0, channels] = shape
  if (shape.length !== 4 || channels !== 3 || count < 1 || images.length !== count * 3 * height * width) {
    throw new RangeError(`imageGrid: ${images.length} values of shape [${shape}] are not [N, H, W, 3] images.`)
  }
  const grid = new ImageGrid(count, height, width, options)
  const bytes = images instanceof Float32Array ? Uint8Array.from(images, toByte) : images
  const length = height * width * 3
  for (let n = 0; n < count; n++) grid.put(n, bytes.subarray(n * length, (n + 1) * length))
  return grid.image
}

/** A number of [0, 1] as REPA's `array2grid` makes a byte of it. */
const toByte = (value: number) => Math.floor(Math.min(Math.max(value, 0), 1) * 255 + 0.5)
