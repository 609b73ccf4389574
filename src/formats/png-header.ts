import { dataViewOf } from './byte-order.ts'

/** What every PNG file begins with (PNG specification, 5.2). */
export const PNG_SIGNATURE = Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a)

/** By colour type (11.2.2): grey, RGB, palette, grey and alpha, RGBA. */
const CHANNELS: Readonly<Record<number, number>> = { 0: 1, 2: 3, 3: 1, 4: 2, 6: 4 }

/** Signature, and the chunk that comes first in every PNG: its length, type, data and checksum. */
const HEADER_BYTES = PNG_SIGNATURE.length + 4 + 4 + 13 + 4

export interface PngHeader {
  readonly width: number
  readonly height: number
  /** As they are stored: a palette's index is one. */
  readonly channels: number
  readonly bitDepth: number
}

export const isPng = (bytes: Uint8Array) => PNG_SIGNATURE.every((byte, i) => bytes[i] === byte)

/** What the IHDR chunk says. Throws a sentence fragment that says what is wrong; the caller names the file. */
export function readPngHeader(bytes: Uint8Array): PngHeader {
  if (!isPng(bytes)) throw new Error('it is not a PNG file')
  if (bytes.length < HEADER_BYTES) throw new Error(`the PNG file is truncated: ${bytes.length} bytes are there`)
  const view = dataViewOf(bytes)
  if (view.getUint32(12) !== 0x49484452) throw new Error('the first chunk of the PNG file is not IHDR')
  const channels = CHANNELS[bytes[25]!]
  if (channels === undefined) throw new Error(`PNG colour type ${bytes[25]} is not known`)
  return { width: view.getUint32(16), height: view.getUint32(20), channels, bitDepth: bytes[24]! }
}
