import type { Sharp } from 'sharp'
import { decodeBmp, readBmpHeader } from './bmp.ts'
import { findPngDamage, type ImageHeader, readImageHeader } from './image-header.ts'
import type { RgbImage } from './rgb-image.ts'

/**
 * File name endings that count as images, in lower case: those that Pillow, and so the reference, gives the formats that are read here.
 * The bytes, not the ending, decide how a file is read.
 */
export const IMAGE_EXTENSIONS: ReadonlySet<string> = new Set([
  '.jpg',
  '.jpeg',
  '.jpe',
  '.jfif',
  '.png',
  '.apng',
  '.bmp',
  '.webp',
])

/** The most pixels that one image may have: where Pillow, too, takes a file for a decompression bomb. */
const MAX_IMAGE_PIXELS = 178_956_970

/** The bytes of one file are not an image that can be read; the file is at fault, not the machine. */
export class ImageDecodeError extends Error {
  override readonly name = 'ImageDecodeError'

  constructor(
    /** The file, as the caller names it. */
    readonly file: string,
    /** What is wrong with it. */
    readonly reason: string,
    options?: ErrorOptions,
  ) {
    super(`Cannot read the image '${file}': ${reason}.`, options)
  }
}

let sharpModule: Promise<typeof import('sharp')> | undefined

async function openWithSharp(bytes: Uint8Array): Promise<Sharp> {
  sharpModule ??= import('sharp')
  const { default: sharp } = await sharpModule
  // `truncated` refuses what Pillow refuses and takes what it takes: stray bytes inside a JPEG stream are a warning.
  return sharp(bytes, { failOn: 'truncated', ignoreIcc: true, limitInputPixels: MAX_IMAGE_PIXELS })
}

/**
 * Decodes an image file to the pixels of Pillow's `Image.open(file).convert('RGB')`: EXIF orientation is not applied,
 * alpha is dropped and not blended, colour profiles are ignored, 16-bit RGB keeps its high byte, CMYK is converted
 * without a profile, and 16-bit grey is clipped at 255, not scaled. JPEG, PNG and WebP are decoded in libuv's thread
 * pool.
 *
 * @param bytes the whole file
 * @param name what to call the file in an error
 * @throws {ImageDecodeError} if the file is empty, truncated, damaged, too large or no image
 */
export async function decodeImage(bytes: Uint8Array, name: string): Promise<RgbImage> {
  const header = withName(name, () => readImageHeader(bytes))
  checkSize(header, name)
  if (header.format === 'bmp') return withName(name, () => decodeBmp(bytes, readBmpHeader(bytes)))
  const image = await openWithSharp(bytes)
  try {
    if (header.format === 'jpeg' && header.channels === 4) return await decodeCmyk(image)
    if (header.format === 'png' && header.channels === 1 && header.bitDepth === 16) return await decodeGrey16(image)
    const { data, info } = await image.toColourspace('srgb').removeAlpha().raw().toBuffer({ resolveWithObject: true })
    return { width: info.width, height: info.height, data }
  } catch (error) {
    const damage = header.format === 'png' ? findPngDamage(bytes) : undefined
    throw new ImageDecodeError(name, damage ?? reasonOf(error), { cause: error })
  }
}

/** Pillow's conversion without a profile: each of C, M, Y darkens what K leaves. */
async function decodeCmyk(image: Sharp): Promise<RgbImage> {
  const { data: cmyk, info } = await image
    .pipelineColourspace('cmyk')
    .toColourspace('cmyk')
    .raw()
    .toBuffer({ resolveWithObject: true })
  const area = info.width * info.height
  const data = new Uint8Array(area * 3)
  for (let i = 0; i < area; i++) {
    const light = 255 - cmyk[i * 4 + 3]!
    for (let c = 0; c < 3; c++) {
      // x·y/255, rounded to nearest, as Pillow's MULDIV255.
      const product = cmyk[i * 4 + c]! * light + 128
      data[i * 3 + c] = light - (((product >> 8) + product) >> 8)
    }
  }
  return { width: info.width, height: info.height, data }
}

/** Pillow reads 16-bit grey as integers (mode `I`), and its conversion to RGB clips them at 255. */
async function decodeGrey16(image: Sharp): Promise<RgbImage> {
  const { data: bytes, info } = await image
    .toColourspace('grey16')
    .removeAlpha()
    .raw({ depth: 'ushort' })
    .toBuffer({ resolveWithObject: true })
  const area = info.width * info.height
  const data = new Uint8Array(area * 3)
  for (let i = 0; i < area; i++) data.fill(Math.min(bytes.readUInt16LE(i * 2), 255), i * 3, i * 3 + 3)
  return { width: info.width, height: info.height, data }
}

function checkSize(header: ImageHeader, name: string): void {
  if (header.format === 'webp') return
  const { width, height } = header
  if (width < 1 || height < 1) throw new ImageDecodeError(name, `it declares a size of ${width}×${height}`)
  if (width * height > MAX_IMAGE_PIXELS) {
    const limit = MAX_IMAGE_PIXELS.toLocaleString('en')
    throw new ImageDecodeError(name, `it declares ${width}×${height} pixels, more than the limit of ${limit}`)
  }
}

function withName<T>(name: string, read: () => T): T {
  try {
    return read()
  } catch (error) {
    throw new ImageDecodeError(name, reasonOf(error), { cause: error })
  }
}

/** The decoder repeats its messages line by line; the first says it. */
function reasonOf(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error)
  return message
    .split('\n')[0]!
    .replace(/^Input buffer has corrupt header: /, '')
    .replace(/\.$/, '')
}
