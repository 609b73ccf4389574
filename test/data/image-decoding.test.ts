import { readFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { crc32, deflateSync } from 'node:zlib'
import sharp from 'sharp'
import { describe, expect, test } from 'vitest'
import { decodeImage, ImageDecodeError } from '../../src/data/image-decoding.ts'
import { encodePng, type PngChannels } from '../../src/data/png.ts'
import { goldenFolder, goldenSuffix, haveGolden } from '../shared-folder.ts'
import { goldenCase, goldenTensors } from './golden.ts'
import { maxDifference } from './max-difference.ts'
import { syntheticImage } from './synthetic-image.ts'

const files = goldenCase('images')
const tolerances = files.get('images/images.decoded.safetensors')?.tensors ?? {}
const tensors = await goldenTensors('images/images.decoded.safetensors')

function goldenFile(name: string): Buffer {
  return readFileSync(join(goldenFolder, 'images', name))
}

describe.skipIf(!haveGolden)(`golden image.decode${goldenSuffix}`, () => {
  const names = Object.keys(tolerances).filter((name) => !name.endsWith('.alpha'))
  test('has cases', () => expect(names).toHaveLength(20))
  test.each(names)('%s', async (name) => {
    const image = await decodeImage(goldenFile(name), name)
    const expected = tensors.get(name)!
    expect([image.height, image.width, 3]).toEqual(expected.shape)
    expect(maxDifference(image.data, expected.data)).toBeLessThanOrEqual(tolerances[name]!.tol!.atol)
  })
})

describe.skipIf(!haveGolden)(`golden image.must-fail${goldenSuffix}`, () => {
  const REASONS: Record<string, string> = {
    'bad-truncated.jpg': 'premature end of JPEG image',
    'bad-crc.png': 'chunk IDAT at byte 33 has the checksum',
    'bad-not-an-image.jpg': 'it is not a JPEG, PNG, BMP or WebP file',
    'bad-empty.png': 'the file is empty',
    'bad-huge-dimensions.png': 'pixels, more than the limit of 178,956,970',
  }
  const names = [...files].filter(([, { kind }]) => kind === 'image.must-fail').map(([path]) => basename(path))
  test('has cases', () => expect(names.toSorted()).toEqual(Object.keys(REASONS).toSorted()))
  test.each(names)('%s', async (name) => {
    const error = await decodeImage(goldenFile(name), name).catch((error: unknown) => error)
    expect(error).toBeInstanceOf(ImageDecodeError)
    expect((error as Error).message).toContain(`'${name}'`)
    expect((error as Error).message).toContain(REASONS[name])
  })
})

/** A PNG of one 16-bit grey row. */
function grey16Png(values: readonly number[]): Uint8Array {
  const file = Buffer.from(encodePng(new Uint8Array(values.length), values.length, 1, 1))
  const row = Buffer.alloc(1 + values.length * 2)
  for (const [i, value] of values.entries()) row.writeUInt16BE(value, 1 + i * 2)
  const header = Buffer.from(file.subarray(16, 29))
  header[8] = 16
  const chunks = [pngChunk('IHDR', header), pngChunk('IDAT', deflateSync(row)), pngChunk('IEND', Buffer.alloc(0))]
  return Buffer.concat([file.subarray(0, 8), ...chunks])
}

function pngChunk(type: string, data: Buffer): Buffer {
  const body = Buffer.concat([Buffer.from(type), data])
  const out = Buffer.alloc(body.length + 8)
  out.writeUInt32BE(data.length)
  body.copy(out, 4)
  out.writeUInt32BE(crc32(body), body.length + 4)
  return out
}

/** A bitmap of 3×2 pixels: red, green, blue above black, white, (8, 16, 24). */
const BMP_PIXELS = [255, 0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255, 255, 255, 8, 16, 24]

interface BmpVariant {
  readonly bits: number
  readonly rows: readonly (readonly number[])[]
  readonly palette?: readonly number[]
  readonly topDown?: boolean
  readonly compression?: number
}

function bmp({ bits, rows, palette = [], topDown = false, compression = 0 }: BmpVariant): Buffer {
  const head = Buffer.alloc(54)
  head.write('BM')
  head.writeUInt32LE(54 + palette.length, 10)
  head.writeUInt32LE(40, 14)
  head.writeInt32LE(3, 18)
  head.writeInt32LE(topDown ? -2 : 2, 22)
  head.writeUInt16LE(1, 26)
  head.writeUInt16LE(bits, 28)
  head.writeUInt32LE(compression, 30)
  head.writeUInt32LE(compression === 3 ? 0 : palette.length / 4, 46)
  const stored = (topDown ? rows : rows.toReversed()).flatMap((row) => [
    ...row,
    ...Array((4 - (row.length % 4)) % 4).fill(0),
  ])
  return Buffer.concat([head, Buffer.from(palette), Buffer.from(stored)])
}

const RGB_ROWS = [
  [0, 0, 255, 0, 255, 0, 255, 0, 0],
  [0, 0, 0, 255, 255, 255, 24, 16, 8],
]
const PALETTE = [0, 0, 255, 0, 0, 255, 0, 0, 255, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 0, 24, 16, 8, 0]
const RGBX_ROWS = RGB_ROWS.map((row) => row.flatMap((value, i) => (i % 3 === 2 ? [value, 9] : [value])))

describe('decodeImage', () => {
  test.each<[string, BmpVariant]>([
    ['24 bits', { bits: 24, rows: RGB_ROWS }],
    ['24 bits, top down', { bits: 24, rows: RGB_ROWS, topDown: true }],
    ['32 bits', { bits: 32, rows: RGBX_ROWS }],
    [
      '32 bits with masks',
      { bits: 32, rows: RGBX_ROWS, compression: 3, palette: [0, 0, 255, 0, 0, 255, 0, 0, 255, 0, 0, 0] },
    ],
    [
      '8 bits',
      {
        bits: 8,
        rows: [
          [0, 1, 2],
          [3, 4, 5],
        ],
        palette: PALETTE,
      },
    ],
    [
      '4 bits',
      {
        bits: 4,
        rows: [
          [0x01, 0x20],
          [0x34, 0x50],
        ],
        palette: PALETTE,
      },
    ],
  ])('reads a BMP of %s', async (name, variant) => {
    expect([...(await decodeImage(bmp(variant), name)).data]).toEqual(BMP_PIXELS)
  })

  test('reads a BMP of 16 bits as 5-5-5', async () => {
    const words = [
      [0x7c00, 0x03e0, 0x001f],
      [0, 0x7fff, 0x0443],
    ]
    const rows = words.map((row) => row.flatMap((word) => [word & 255, word >> 8]))
    // 1/31, 2/31 and 3/31 of 255, rounded down.
    expect([...(await decodeImage(bmp({ bits: 16, rows }), 'x')).data]).toEqual([...BMP_PIXELS.slice(0, 15), 8, 16, 24])
  })

  test.each<[string, BmpVariant, number, string]>([
    ['truncated pixels', { bits: 24, rows: RGB_ROWS }, -1, 'the BMP file is truncated: 77 of 78 bytes are there'],
    ['a truncated header', { bits: 24, rows: RGB_ROWS }, 40, 'the BMP header ends after 40 of at least 54 bytes'],
    ['run-length coding', { bits: 8, rows: RGB_ROWS, compression: 1 }, 200, 'BMP compression 1 is not supported'],
    [
      'a colour that is not there',
      {
        bits: 8,
        rows: [
          [0, 1, 6],
          [3, 4, 5],
        ],
        palette: PALETTE,
      },
      200,
      'a BMP pixel asks for colour 6 of 6',
    ],
    ['an odd depth', { bits: 7, rows: RGB_ROWS }, 200, 'a BMP of 7 bits per pixel is not known'],
  ])('refuses a BMP with %s', async (_, variant, end, reason) => {
    await expect(decodeImage(bmp(variant).subarray(0, end), 'a.bmp')).rejects.toThrow(
      `Cannot read the image 'a.bmp': ${reason}`,
    )
  })

  test('clips 16-bit grey at 255, as Pillow does', async () => {
    const image = await decodeImage(grey16Png([0, 7, 255, 256, 65535]), 'grey16.png')
    expect([...image.data].filter((_, i) => i % 3 === 0)).toEqual([0, 7, 255, 255, 255])
  })

  test('ignores a colour profile', async () => {
    const { data, width, height } = syntheticImage(8, 8)
    const raw = sharp(data, { raw: { width, height, channels: 3 } })
    const withProfile = await raw.withIccProfile('p3', { attach: true }).png().toBuffer()
    const stored = await sharp(withProfile, { ignoreIcc: true }).raw().toBuffer()
    expect((await sharp(withProfile).metadata()).icc).toBeDefined()
    expect(maxDifference((await decodeImage(withProfile, 'p3.png')).data, stored)).toBe(0)
  })

  test('reads lossless WebP', async () => {
    const { data, width, height } = syntheticImage(9, 5)
    const webp = await sharp(data, { raw: { width, height, channels: 3 } })
      .webp({ lossless: true })
      .toBuffer()
    expect(maxDifference((await decodeImage(webp, 'a.webp')).data, data)).toBe(0)
  })

  test('refuses an SVG', async () => {
    const svg = Buffer.from('<svg width="1" height="1"/>')
    await expect(decodeImage(svg, 'x')).rejects.toThrow('it is not a JPEG, PNG, BMP or WebP file')
  })
})

// What Pillow refuses is refused, and what it takes is taken.
describe.skipIf(!haveGolden)(`files that are cut, or longer than they should be${goldenSuffix}`, () => {
  const PNG = 'png-rgb8.png'
  const JPEG = 'jpeg-420.jpg'
  test.each([
    ['a PNG cut inside its pixels', PNG, -2000, 'chunk IDAT at byte 33 is truncated: it needs 6547 bytes of 4559'],
    ['a PNG cut inside its header', PNG, 20, 'the PNG file is truncated: 20 bytes are there'],
    ['a JPEG cut inside its pixels', JPEG, -200, 'premature end of JPEG image'],
    ['a JPEG without an end marker', JPEG, -2, 'premature end of JPEG image'],
    ['a JPEG cut before its frame header', JPEG, 100, 'it has no frame header in its 100 bytes'],
  ])('refuses %s', async (_, file, end, reason) => {
    await expect(decodeImage(goldenFile(file).subarray(0, end), 'x')).rejects.toThrow(reason)
  })

  test.each([
    ['a PNG without IEND', () => goldenFile(PNG).subarray(0, -12)],
    ['a JPEG with bytes after its end', () => Buffer.concat([goldenFile(JPEG), Buffer.from('tail')])],
  ])('takes %s', async (name, bytes) => {
    expect(await decodeImage(bytes(), name)).toMatchObject({ width: 60, height: 80 })
  })
})

describe('encodePng', () => {
  const { data } = syntheticImage(120, 70)
  const shapes: [PngChannels, number, number][] = [
    [1, 12, 7],
    [3, 5, 1],
    [4, 11, 13],
    [3, 200, 42],
  ]
  const cases = shapes.flatMap((shape) => [0, 1, 6, 9].map((level) => [...shape, level] as const))
  test.each(cases)(
    '%d channels, %d×%d, level %d: sharp reads the pixels back',
    async (channels, width, height, compressionLevel) => {
      const pixels = data.subarray(0, width * height * channels)
      const file = encodePng(pixels, width, height, channels, { compressionLevel })
      const image = sharp(file)
      expect(await image.metadata()).toMatchObject({ width, height, channels, depth: 'uchar' })
      const read = await image
        .toColourspace(channels === 1 ? 'b-w' : 'srgb')
        .raw()
        .toBuffer()
      expect(maxDifference(read, pixels)).toBe(0)
    },
  )

  test('level 0 stores, level 6 compresses', () => {
    const flat = new Uint8Array(64 * 64 * 3).fill(7)
    expect(encodePng(flat, 64, 64, 3, { compressionLevel: 0 }).length).toBeGreaterThan(flat.length)
    expect(encodePng(flat, 64, 64, 3).length).toBeLessThan(200)
  })

  test('refuses pixels that do not fill the size', () => {
    expect(() => encodePng(new Uint8Array(11), 2, 2, 3)).toThrow('encodePng: 11 bytes are not 2×2×3 pixels.')
  })
})
