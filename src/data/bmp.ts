import type { RgbImage } from './rgb-image.ts'

/** Windows bitmap headers (BITMAPFILEHEADER, BITMAPCOREHEADER, BITMAPINFOHEADER and its extensions). */
export interface BmpHeader {
  readonly width: number
  readonly height: number
  readonly topDown: boolean
  readonly bitsPerPixel: number
  readonly pixelOffset: number
  /** Red, green and blue bits of a 16- or 32-bit pixel. */
  readonly masks: readonly [number, number, number]
  /** Where the colour table starts, how many bytes an entry has, and how many entries there are. */
  readonly palette: { readonly offset: number; readonly stride: number; readonly colors: number }
}

const CORE_HEADER_BYTES = 12
const INFO_HEADER_BYTES = 40
const FILE_HEADER_BYTES = 14
const UNCOMPRESSED = 0
const BIT_FIELDS = 3

/** Reads the headers. Throws a sentence fragment that says what is wrong; the caller names the file. */
export function readBmpHeader(bytes: Uint8Array): BmpHeader {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const need = (end: number): void => {
    if (end > bytes.length) throw new Error(`the BMP header ends after ${bytes.length} of at least ${end} bytes`)
  }
  need(FILE_HEADER_BYTES + 4)
  const pixelOffset = view.getUint32(10, true)
  const headerBytes = view.getUint32(FILE_HEADER_BYTES, true)
  const core = headerBytes === CORE_HEADER_BYTES
  if (!core && headerBytes < INFO_HEADER_BYTES) throw new Error(`a BMP header of ${headerBytes} bytes is not known`)
  need(FILE_HEADER_BYTES + headerBytes)
  const width = core ? view.getUint16(18, true) : view.getInt32(18, true)
  const signedHeight = core ? view.getUint16(20, true) : view.getInt32(22, true)
  const bitsPerPixel = view.getUint16(core ? 24 : 28, true)
  const compression = core ? UNCOMPRESSED : view.getUint32(30, true)
  if (compression !== UNCOMPRESSED && compression !== BIT_FIELDS) {
    throw new Error(`BMP compression ${compression} is not supported; store it uncompressed or as PNG`)
  }
  if (![1, 4, 8, 16, 24, 32].includes(bitsPerPixel))
    throw new Error(`a BMP of ${bitsPerPixel} bits per pixel is not known`)
  // The masks of BITMAPINFOHEADER follow it; in the longer headers they are fields, at the same place.
  const bitFields = compression === BIT_FIELDS
  if (bitFields) need(FILE_HEADER_BYTES + INFO_HEADER_BYTES + 12)
  const masks: [number, number, number] = bitFields
    ? [view.getUint32(54, true), view.getUint32(58, true), view.getUint32(62, true)]
    : bitsPerPixel === 16
      ? [0x7c00, 0x03e0, 0x001f]
      : [0xff0000, 0x00ff00, 0x0000ff]
  const declaredColors = core ? 0 : view.getUint32(46, true)
  const colors = bitsPerPixel > 8 ? 0 : declaredColors || 1 << bitsPerPixel
  return {
    width,
    height: Math.abs(signedHeight),
    topDown: signedHeight < 0,
    bitsPerPixel,
    pixelOffset,
    masks,
    palette: { offset: FILE_HEADER_BYTES + headerBytes, stride: core ? 3 : 4, colors },
  }
}

/** Decodes an uncompressed bitmap. Throws a sentence fragment that says what is wrong; the caller names the file. */
export function decodeBmp(bytes: Uint8Array, header: BmpHeader): RgbImage {
  const { width, height, bitsPerPixel, pixelOffset, palette } = header
  const rowBytes = Math.ceil((width * bitsPerPixel) / 32) * 4
  const end = Math.max(pixelOffset + rowBytes * height, palette.offset + palette.stride * palette.colors)
  if (end > bytes.length) throw new Error(`the BMP file is truncated: ${bytes.length} of ${end} bytes are there`)
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const data = new Uint8Array(width * height * 3)
  const [red, green, blue] = header.masks.map(channelOf) as [Channel, Channel, Channel]
  for (let y = 0; y < height; y++) {
    const row = pixelOffset + (header.topDown ? y : height - 1 - y) * rowBytes
    for (let x = 0; x < width; x++) {
      const o = (y * width + x) * 3
      if (bitsPerPixel === 24) {
        const p = row + x * 3
        data[o] = bytes[p + 2]!
        data[o + 1] = bytes[p + 1]!
        data[o + 2] = bytes[p]!
      } else if (bitsPerPixel > 8) {
        const pixel = bitsPerPixel === 16 ? view.getUint16(row + x * 2, true) : view.getUint32(row + x * 4, true)
        data[o] = red(pixel)
        data[o + 1] = green(pixel)
        data[o + 2] = blue(pixel)
      } else {
        const bit = x * bitsPerPixel
        const index = (bytes[row + (bit >> 3)]! >> (8 - bitsPerPixel - (bit & 7))) & ((1 << bitsPerPixel) - 1)
        if (index >= palette.colors) throw new Error(`a BMP pixel asks for colour ${index} of ${palette.colors}`)
        const p = palette.offset + index * palette.stride
        data[o] = bytes[p + 2]!
        data[o + 1] = bytes[p + 1]!
        data[o + 2] = bytes[p]!
      }
    }
  }
  return { width, height, data }
}

type Channel = (pixel: number) => number

/** Reads the bits under a mask, stretched to 0…255. */
function channelOf(mask: number): Channel {
  if (mask === 0) return () => 0
  const shift = 31 - Math.clz32(mask & -mask)
  const max = mask >>> shift
  return (pixel) => Math.floor((((pixel & mask) >>> shift) * 255) / max)
}
