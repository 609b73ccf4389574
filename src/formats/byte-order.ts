/** A view of exactly these bytes. */
export function dataViewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}

/** Turns big-endian elements into little-endian ones or back, in place, and returns the same bytes. */
export function swapByteOrder<T extends Uint8Array>(bytes: T, elementBytes: number): T {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (elementBytes === 2) buffer.swap16()
  else if (elementBytes === 4) buffer.swap32()
  else if (elementBytes === 8) buffer.swap64()
  else if (elementBytes !== 1) throw new RangeError(`Elements of ${elementBytes} bytes have no byte order to swap.`)
  return bytes
}
