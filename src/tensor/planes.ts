/** Between the pixels of images, as files have them, and their planes, as tensors do; in host memory. */

/** Writes HWC pixels as planes (CHW), the layout that training reads, to `out` from `offset` on. */
export function toPlanes(
  { width, height, data }: { readonly width: number; readonly height: number; readonly data: Uint8Array },
  out: Uint8Array,
  offset = 0,
): void {
  const area = width * height
  const green = offset + area
  const blue = green + area
  for (let i = 0, s = 0; i < area; i++, s += 3) {
    out[offset + i] = data[s]!
    out[green + i] = data[s + 1]!
    out[blue + i] = data[s + 2]!
  }
}

/** Pixels [N, area, 3] of images as their planes [N, 3, area]. */
export function planar(pixels: Uint8Array, area: number): Uint8Array {
  const planes = new Uint8Array(pixels.length)
  for (let first = 0; first < pixels.length; first += 3 * area) {
    toPlanes({ width: area, height: 1, data: pixels.subarray(first, first + 3 * area) }, planes, first)
  }
  return planes
}

/** Planes [N, 3, area] of images as their pixels [N, area, 3]. */
export function interleaved<A extends Uint8Array | Float32Array>(planes: A, area: number): A {
  const pixels = planes.slice() as A
  for (let red = 0; red < planes.length; red += 3 * area) {
    for (let i = red, s = red, end = red + area; i < end; i++, s += 3) {
      pixels[s] = planes[i]!
      pixels[s + 1] = planes[i + area]!
      pixels[s + 2] = planes[i + 2 * area]!
    }
  }
  return pixels
}
