/** An 8-bit RGB picture in host memory. */
export interface RgbImage {
  readonly width: number
  readonly height: number
  /** `height × width × 3` bytes, row by row, channels fastest (HWC). */
  readonly data: Uint8Array
}

/** The rectangle of `width × height` pixels whose upper left corner is (`left`, `top`), as a copy. */
export function cropImage(image: RgbImage, left: number, top: number, width: number, height: number): RgbImage {
  if (left < 0 || top < 0 || left + width > image.width || top + height > image.height) {
    throw new RangeError(
      `cropImage: ${width}×${height} at (${left}, ${top}) does not lie inside an image of ${image.width}×${image.height}.`,
    )
  }
  if (width === image.width && height === image.height) return image
  const data = new Uint8Array(width * height * 3)
  for (let y = 0; y < height; y++) {
    const start = ((top + y) * image.width + left) * 3
    data.set(image.data.subarray(start, start + width * 3), y * width * 3)
  }
  return { width, height, data }
}
