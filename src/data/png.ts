import { crc32, deflateSync } from 'node:zlib'

/** Colour types of the PNG specification, 11.2.2, by the number of 8-bit channels. */
const COLOR_TYPES = { 1: 0, 3: 2, 4: 6 } as const

export type PngChannels = keyof typeof COLOR_TYPES

const SIGNATURE = Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a)
/** RFC 1951, 3.2.4: a stored block holds at most this many bytes. */
const STORED_BLOCK_BYTES = 65_535

/**
 * Encodes 8-bit pixels as a PNG file. The same pixels give the same bytes on every machine at level 0, and with the
 * same zlib at the others.
 *
 * @param pixels `height × width × channels` bytes, channels fastest: 1 grey, 3 RGB, 4 RGBA
 * @param options.compressionLevel 0 stores (no compression and no row filter: the fastest to write and to read);
 *   1…9 as in zlib, each row with the filter of the smallest sum of absolute differences
 */
export function encodePng(
  pixels: Uint8Array,
  width: number,
  height: number,
  channels: PngChannels,
  { compressionLevel = 6 }: { compressionLevel?: number } = {},
): Uint8Array {
  const rowBytes = width * channels
  if (!(width >= 1 && height >= 1) || pixels.length !== rowBytes * height) {
    throw new RangeError(`encodePng: ${pixels.length} bytes are not ${height}×${width}×${channels} pixels.`)
  }
  const rows =
    compressionLevel === 0 ? unfiltered(pixels, rowBytes, height) : filtered(pixels, rowBytes, height, channels)
  const body = compressionLevel === 0 ? zlibStored(rows) : deflateSync(rows, { level: compressionLevel })
  const file = new Uint8Array(SIGNATURE.length + 12 + 13 + 12 + body.length + 12)
  file.set(SIGNATURE)
  const header = new Uint8Array(13)
  const view = new DataView(header.buffer)
  view.setUint32(0, width)
  view.setUint32(4, height)
  header[8] = 8
  header[9] = COLOR_TYPES[channels]
  let at = writeChunk(file, SIGNATURE.length, 'IHDR', header)
  at = writeChunk(file, at, 'IDAT', body)
  writeChunk(file, at, 'IEND', new Uint8Array(0))
  return file
}

/** Length, type, data and the checksum of type and data. Returns where the next chunk goes. */
function writeChunk(file: Uint8Array, at: number, type: string, data: Uint8Array): number {
  const view = new DataView(file.buffer, at)
  view.setUint32(0, data.length)
  for (let i = 0; i < 4; i++) file[at + 4 + i] = type.charCodeAt(i)
  file.set(data, at + 8)
  view.setUint32(8 + data.length, crc32(file.subarray(at + 4, at + 8 + data.length)))
  return at + 12 + data.length
}

function unfiltered(pixels: Uint8Array, rowBytes: number, height: number): Uint8Array {
  const out = new Uint8Array(height * (rowBytes + 1))
  for (let y = 0; y < height; y++) {
    out.set(pixels.subarray(y * rowBytes, (y + 1) * rowBytes), y * (rowBytes + 1) + 1)
  }
  return out
}

/** PNG specification, 12.7: for each row the filter whose output, read as signed bytes, has the smallest sum. */
function filtered(pixels: Uint8Array, rowBytes: number, height: number, channels: number): Uint8Array {
  const out = new Uint8Array(height * (rowBytes + 1))
  const zeros = new Uint8Array(rowBytes)
  const trial = new Uint8Array(rowBytes)
  for (let y = 0; y < height; y++) {
    const row = pixels.subarray(y * rowBytes, (y + 1) * rowBytes)
    const above = y === 0 ? zeros : pixels.subarray((y - 1) * rowBytes, y * rowBytes)
    const start = y * (rowBytes + 1)
    let smallest = Number.POSITIVE_INFINITY
    for (let type = 0; type <= 4; type++) {
      const sum = filterRow(type, row, above, channels, trial)
      if (sum >= smallest) continue
      smallest = sum
      out[start] = type
      out.set(trial, start + 1)
    }
  }
  return out
}

/** Filters one row (PNG specification, 9.2) and returns the sum of its signed magnitudes. */
function filterRow(type: number, row: Uint8Array, above: Uint8Array, channels: number, out: Uint8Array): number {
  let sum = 0
  for (let i = 0; i < row.length; i++) {
    const left = i < channels ? 0 : row[i - channels]!
    const up = above[i]!
    const upperLeft = i < channels ? 0 : above[i - channels]!
    const prediction =
      type === 0 ? 0 : type === 1 ? left : type === 2 ? up : type === 3 ? (left + up) >> 1 : paeth(left, up, upperLeft)
    const value = (row[i]! - prediction) & 255
    out[i] = value
    sum += value < 128 ? value : 256 - value
  }
  return sum
}

function paeth(left: number, up: number, upperLeft: number): number {
  const estimate = left + up - upperLeft
  const toLeft = Math.abs(estimate - left)
  const toUp = Math.abs(estimate - up)
  const toUpperLeft = Math.abs(estimate - upperLeft)
  if (toLeft <= toUp && toLeft <= toUpperLeft) return left
  return toUp <= toUpperLeft ? up : upperLeft
}

/** A zlib stream (RFC 1950) of stored blocks: written here, so that no version of zlib can change a byte of it. */
function zlibStored(data: Uint8Array): Uint8Array {
  const blocks = Math.ceil(data.length / STORED_BLOCK_BYTES)
  const out = new Uint8Array(2 + data.length + 5 * blocks + 4)
  const view = new DataView(out.buffer)
  view.setUint16(0, 0x7801)
  let at = 2
  for (let start = 0; start < data.length; start += STORED_BLOCK_BYTES) {
    const end = Math.min(start + STORED_BLOCK_BYTES, data.length)
    out[at] = end === data.length ? 1 : 0
    view.setUint16(at + 1, end - start, true)
    view.setUint16(at + 3, ~(end - start) & 0xffff, true)
    out.set(data.subarray(start, end), at + 5)
    at += 5 + end - start
  }
  view.setUint32(at, adler32(data))
  return out
}

/** RFC 1950, 8.2; the remainder is taken once in 5552 bytes, the most that a 32-bit sum allows. */
function adler32(data: Uint8Array): number {
  let a = 1
  let b = 0
  for (let start = 0; start < data.length; start += 5552) {
    const end = Math.min(start + 5552, data.length)
    for (let i = start; i < end; i++) {
      a += data[i]!
      b += a
    }
    a %= 65_521
    b %= 65_521
  }
  return b * 65_536 + a
}
