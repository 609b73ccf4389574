import { crc32 } from 'node:zlib'
import { isPng, PNG_SIGNATURE, readPngHeader } from '../formats/png-header.ts'
import { readBmpHeader } from './bmp.ts'

/** What the first bytes of an image file say, read without decoding it. */
export interface ImageHeader {
  readonly format: 'png' | 'jpeg' | 'bmp' | 'webp'
  /** Zero for WebP, whose decoder checks the size itself (the format ends at 16383 × 16383). */
  readonly width: number
  readonly height: number
  readonly channels: number
  readonly bitDepth: number
}

/** Reads the header. Throws a sentence fragment that says what is wrong; the caller names the file. */
export function readImageHeader(bytes: Uint8Array): ImageHeader {
  if (bytes.length === 0) throw new Error('the file is empty')
  if (isPng(bytes)) return { format: 'png', ...readPngHeader(bytes) }
  if (bytes[0] === 0xff && bytes[1] === 0xd8) return readJpegHeader(bytes)
  if (bytes[0] === 0x42 && bytes[1] === 0x4d) {
    const { width, height, bitsPerPixel } = readBmpHeader(bytes)
    return { format: 'bmp', width, height, channels: 3, bitDepth: bitsPerPixel }
  }
  if (ascii(bytes, 0) === 'RIFF' && ascii(bytes, 8) === 'WEBP') {
    return { format: 'webp', width: 0, height: 0, channels: 0, bitDepth: 8 }
  }
  throw new Error('it is not a JPEG, PNG, BMP or WebP file')
}

/** ITU-T T.81, annex B: markers up to the start of frame (SOF0…SOF15 without DHT, JPG and DAC). */
function readJpegHeader(bytes: Uint8Array): ImageHeader {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  let at = 2
  while (at + 4 <= bytes.length) {
    const marker = bytes[at + 1]!
    if (bytes[at] !== 0xff) at += 1
    else if (marker === 0xff) at += 1
    else if (marker === 0 || marker === 1 || (marker >= 0xd0 && marker <= 0xd8)) at += 2
    else if (marker === 0xd9) break
    else if (marker >= 0xc0 && marker <= 0xcf && marker !== 0xc4 && marker !== 0xc8 && marker !== 0xcc) {
      if (at + 10 > bytes.length) break
      return {
        format: 'jpeg',
        bitDepth: bytes[at + 4]!,
        height: view.getUint16(at + 5),
        width: view.getUint16(at + 7),
        channels: bytes[at + 9]!,
      }
    } else at += 2 + view.getUint16(at + 2)
  }
  throw new Error(`the JPEG file is truncated: it has no frame header in its ${bytes.length} bytes`)
}

/**
 * Why a PNG file could not be decoded, in words: the first chunk that is cut short or whose checksum is wrong.
 * Undefined where the chunks are whole and the fault lies inside the compressed data.
 */
export function findPngDamage(bytes: Uint8Array): string | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  let at = PNG_SIGNATURE.length
  while (at < bytes.length) {
    if (at + 12 > bytes.length) return `the file is truncated inside a chunk header at byte ${at}`
    const length = view.getUint32(at)
    const type = ascii(bytes, at + 4)
    const end = at + 12 + length
    if (end > bytes.length) return `chunk ${type} at byte ${at} is truncated: it needs ${end} bytes of ${bytes.length}`
    const stored = view.getUint32(end - 4)
    const actual = crc32(bytes.subarray(at + 4, end - 4))
    if (actual !== stored) {
      return `chunk ${type} at byte ${at} has the checksum ${hex(actual)}, not the ${hex(stored)} that it declares`
    }
    if (type === 'IEND') return undefined
    at = end
  }
  return undefined
}

function ascii(bytes: Uint8Array, at: number): string {
  return String.fromCharCode(...bytes.subarray(at, at + 4))
}

function hex(value: number): string {
  return value.toString(16).padStart(8, '0')
}
