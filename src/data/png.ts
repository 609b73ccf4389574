import { crc32, deflateSync } from 'node:zlib'

const SIGNATURE = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a])

/** PNG's colour types by the number of channels (ISO/IEC 15948, 11.2.2). */
const COLOUR_TYPES: Readonly<Record<number, number>> = { 1: 0, 2: 4, 3: 2, 4: 6 }

export interface PngOptions {
  /** zlib's, 0 to 9. Default 6. */
  readonly compressionLevel?: number
}

/**
 * Encodes 8-bit pixels, row-major with interleaved channels (1: grey, 2: grey and alpha, 3: RGB, 4: RGBA), as a PNG file. Equal
 * pixels and options give equal bytes.
 *
 * @throws RangeError where the pixels do not fill `width × height × channels`, or there is no colour type of so many channels.
 */
export function encodePng(
  pixels: Uint8Array,
  width: number,
  height: number,
  channels: number,
  { compressionLevel = 6 }: PngOptions = {},
): Uint8Array {
  const colourType = COLOUR_TYPES[channels]
  if (colourType === undefined) throw new RangeError(`encodePng: expected 1 to 4 channels, got ${channels}.`)
  if (!(width > 0 && height > 0) || pixels.length !== width * height * channels) {
    throw new RangeError(`encodePng: ${pixels.length} bytes do not fill ${width} × ${height} × ${channels}.`)
  }
  const header = Buffer.alloc(13)
  header.writeUInt32BE(width, 0)
  header.writeUInt32BE(height, 4)
  header[8] = 8
  header[9] = colourType
  const data = deflateSync(filterRows(pixels, width * channels, height, channels), { level: compressionLevel })
  return Buffer.concat([SIGNATURE, chunk('IHDR', header), chunk('IDAT', data), chunk('IEND', Buffer.alloc(0))])
}

/**
 * Every row behind its filter byte, all with the Paeth filter (ISO/IEC 15948, 9.4): the one that suits photographs and smooth
 * drawings best on average, at the cost of a single pass.
 */
function filterRows(pixels: Uint8Array, stride: number, height: number, channels: number): Uint8Array {
  const filtered = new Uint8Array(height * (stride + 1))
  let to = 0
  for (let row = 0; row < height; row++) {
    filtered[to++] = 4
    const start = row * stride
    for (let i = 0; i < stride; i++) {
      const left = i >= channels ? pixels[start + i - channels]! : 0
      const above = row > 0 ? pixels[start + i - stride]! : 0
      const corner = i >= channels && row > 0 ? pixels[start + i - stride - channels]! : 0
      filtered[to++] = pixels[start + i]! - paeth(left, above, corner)
    }
  }
  return filtered
}

function paeth(left: number, above: number, corner: number): number {
  const toLeft = Math.abs(above - corner)
  const toAbove = Math.abs(left - corner)
  const toCorner = Math.abs(left + above - 2 * corner)
  if (toLeft <= toAbove && toLeft <= toCorner) return left
  return toAbove <= toCorner ? above : corner
}

function chunk(type: string, data: Uint8Array): Uint8Array {
  const bytes = Buffer.alloc(data.length + 12)
  bytes.writeUInt32BE(data.length, 0)
  bytes.write(type, 4, 'latin1')
  bytes.set(data, 8)
  bytes.writeUInt32BE(crc32(bytes.subarray(4, -4)), data.length + 8)
  return bytes
}
