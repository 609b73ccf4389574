/**
 * Numbers as they stand in a page's data: as they are where they are few; where they are equally far apart (the steps of a
 * run, a constant learning rate) by the first, the distance and the count; else in base64, little-endian: as float32, or as
 * the distances from each to the next in uint16.
 */
export type PackedNumbers =
  | readonly number[]
  | { readonly first: number; readonly distance: number; readonly count: number }
  | { readonly float32: string }
  | { readonly first: number; readonly distances: string }

export function unpackNumbers(packed: PackedNumbers): Float64Array<ArrayBuffer> {
  if (Array.isArray(packed)) return Float64Array.from(packed as readonly number[])
  if ('count' in packed)
    return Float64Array.from({ length: packed.count }, (_, i) => packed.first + i * packed.distance)
  if ('distances' in packed) {
    const bytes = viewOf(packed.distances)
    const numbers = new Float64Array(bytes.byteLength / 2 + 1)
    numbers[0] = packed.first
    for (let i = 1; i < numbers.length; i++) numbers[i] = numbers[i - 1]! + bytes.getUint16(2 * (i - 1), true)
    return numbers
  }
  const bytes = viewOf((packed as { float32: string }).float32)
  return Float64Array.from({ length: bytes.byteLength / 4 }, (_, i) => bytes.getFloat32(4 * i, true))
}

function viewOf(base64: string): DataView {
  return new DataView(Uint8Array.from(atob(base64), (character) => character.charCodeAt(0)).buffer)
}
