/**
 * Mirrors pictures left to right.
 *
 * @param data rows of `width` pixels of `channels` bytes each: a picture with its channels fastest, or planes with one channel
 * @returns `out`, which is new where it is not given; it may be `data` itself
 */
export function mirror(
  data: Uint8Array,
  width: number,
  channels: number,
  out: Uint8Array = new Uint8Array(data.length),
): Uint8Array {
  const rowBytes = width * channels
  for (let row = 0; row < data.length; row += rowBytes) {
    for (let x = 0; 2 * x < width; x++) {
      const left = row + x * channels
      const right = row + (width - 1 - x) * channels
      for (let c = 0; c < channels; c++) {
        const value = data[left + c]!
        out[left + c] = data[right + c]!
        out[right + c] = value
      }
    }
  }
  return out
}
