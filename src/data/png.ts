import { promisify } from 'node:util'
import { crc32, deflate, deflateSync } from 'node:zlib'
import { PNG_SIGNATURE } from '../formats/png-header.ts'

/** Colour types of the PNG specification, 11.2.2, by the number of 8-bit channels. */
const COLOR_TYPES = { 1: 0, 3: 2, 4: 6 } as const

export type PngChannels = keyof typeof COLOR_TYPES

/** RFC 1951, 3.2.4: a stored block holds at most this many bytes. */
const STORED_BLOCK_BYTES = 65_535
const LEVEL = 6

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
  { compressionLevel = LEVEL }: { compressionLevel?: number } = {},
): Uint8Array {
  const rowBytes = requireRowBytes(pixels, width, height, channels)
  const body =
    compressionLevel === 0
      ? zlibStored(unfiltered(pixels, rowBytes, height))
      : deflateSync(filtered(pixels, rowBytes, height, channels), { level: compressionLevel })
  return pngFile(body, width, height, channels)
}

/** The bytes of `encodePng` at its own level; compressed, which takes the most of its time, on another thread. */
export async function encodePngAside(
  pixels: Uint8Array,
  width: number,
  height: number,
  channels: PngChannels,
): Promise<Uint8Array> {
  const rowBytes = requireRowBytes(pixels, width, height, channels)
  const body = await deflateAside(filtered(pixels, rowBytes, height, channels), { level: LEVEL })
  return pngFile(body, width, height, channels)
}

const deflateAside = promisify<Uint8Array, { level: number }, Uint8Array>(deflate)

function requireRowBytes(pixels: Uint8Array, width: number, height: number, channels: PngChannels): number {
  const rowBytes = width * channels
  if (!(width >= 1 && height >= 1) || pixels.length !== rowBytes * height) {
    throw new RangeError(`encodePng: ${pixels.length} bytes are not ${height}×${width}×${channels} pixels.`)
  }
  return rowBytes
}

/** The file around its zlib stream of rows. */
function pngFile(body: Uint8Array, width: number, height: number, channels: PngChannels): Uint8Array {
  const file = new Uint8Array(PNG_SIGNATURE.length + 12 + 13 + 12 + body.length + 12)
  file.set(PNG_SIGNATURE)
  const header = new Uint8Array(13)
  const view = new DataView(header.buffer)
  view.setUint32(0, width)
  view.setUint32(4, height)
  header[8] = 8
  header[9] = COLOR_TYPES[channels]
  let at = writeChunk(file, PNG_SIGNATURE.length, 'IHDR', header)
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

/** PNG specification, 12.7: for each row the filter whose output, read as signed bytes, has the smallest sum; the first of several. */
function filtered(pixels: Uint8Array, rowBytes: number, height: number, channels: number): Uint8Array {
  const out = new Uint8Array(height * (rowBytes + 1))
  // A pixel of zeros before each row, and a row of zeros before the first: what the filters take for what lies outside.
  let above = new Uint8Array(channels + rowBytes)
  let row = new Uint8Array(channels + rowBytes)
  const results = FILTERS.map(() => new Uint8Array(rowBytes))
  for (let y = 0; y < height; y++) {
    row.set(pixels.subarray(y * rowBytes, (y + 1) * rowBytes), channels)
    let smallest = Number.POSITIVE_INFINITY
    let type = 0
    FILTERS.forEach((filter, i) => {
      const sum = filter(row, above, channels, results[i]!)
      if (sum >= smallest) return
      smallest = sum
      type = i
    })
    out[y * (rowBytes + 1)] = type
    out.set(results[type]!, y * (rowBytes + 1) + 1)
    ;[row, above] = [above, row]
  }
  return out
}

/**
 * Filters one row (PNG specification, 9.2) into `out` and returns the sum of its signed magnitudes; row and the one above begin with a pixel
 * of zeros.
 */
type Filter = (row: Uint8Array, above: Uint8Array, channels: number, out: Uint8Array) => number

/** By their types. A loop each: one for all would ask at every byte which it is of. */
const FILTERS: readonly Filter[] = [
  function none(row, _above, channels, out) {
    let sum = 0
    for (let i = 0; i < out.length; i++) {
      const value = signed(row[i + channels]!)
      out[i] = value
      sum += Math.abs(value)
    }
    return sum
  },
  function sub(row, _above, channels, out) {
    let sum = 0
    for (let i = 0; i < out.length; i++) {
      const value = signed(row[i + channels]! - row[i]!)
      out[i] = value
      sum += Math.abs(value)
    }
    return sum
  },
  function up(row, above, channels, out) {
    let sum = 0
    for (let i = 0; i < out.length; i++) {
      const value = signed(row[i + channels]! - above[i + channels]!)
      out[i] = value
      sum += Math.abs(value)
    }
    return sum
  },
  function average(row, above, channels, out) {
    let sum = 0
    for (let i = 0; i < out.length; i++) {
      const value = signed(row[i + channels]! - ((row[i]! + above[i + channels]!) >> 1))
      out[i] = value
      sum += Math.abs(value)
    }
    return sum
  },
  function paeth(row, above, channels, out) {
    let sum = 0
    for (let i = 0; i < out.length; i++) {
      const left = row[i]!
      const up = above[i + channels]!
      const upperLeft = above[i]!
      // How far each is from left + up - upperLeft.
      const toLeft = Math.abs(up - upperLeft)
      const toUp = Math.abs(left - upperLeft)
      const toUpperLeft = Math.abs(left + up - 2 * upperLeft)
      const nearest = toLeft <= toUp && toLeft <= toUpperLeft ? left : toUp <= toUpperLeft ? up : upperLeft
      const value = signed(row[i + channels]! - nearest)
      out[i] = value
      sum += Math.abs(value)
    }
    return sum
  },
]

/** A difference of bytes modulo 256, from -128 to 127. */
const signed = (difference: number) => (difference << 24) >> 24

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
