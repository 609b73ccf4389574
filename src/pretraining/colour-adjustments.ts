/**
 * Changes of colour as torchvision makes them of Pillow's images, to the same bits (Pillow 9.4: ImageEnhance, ImageOps, Convert.c).
 * All work in place on pixels of three bytes, red first.
 */

/** Share of each of the channels in the grey of a pixel, over 2^16 (ITU-R BT.601). */
const RED = 19_595
const GREEN = 38_470
const BLUE = 7_471
const HALF = 0x80_00

function grey(pixels: Uint8Array, at: number): number {
  return (pixels[at]! * RED + pixels[at + 1]! * GREEN + pixels[at + 2]! * BLUE + HALF) >> 16
}

/** `from` at a factor of 0, `to` at 1, beyond it at more; in float32, cut off at the ends and towards zero. */
function blend(from: number, to: number, factor: number): number {
  const value = Math.fround(from + Math.fround(factor * (to - from)))
  return value <= 0 ? 0 : value >= 255 ? 255 : Math.trunc(value)
}

/** What every byte becomes where all pixels are blended with one level. */
function blendWithLevel(pixels: Uint8Array, level: number, factor: number): void {
  const rounded = Math.fround(factor)
  const table = Uint8Array.from({ length: 256 }, (_, value) => blend(level, value, rounded))
  for (let i = 0; i < pixels.length; i++) pixels[i] = table[pixels[i]!]!
}

/** Black at a factor of 0, unchanged at 1. */
export function adjustBrightness(pixels: Uint8Array, factor: number): void {
  blendWithLevel(pixels, 0, factor)
}

/** The picture's mean grey at a factor of 0, unchanged at 1. */
export function adjustContrast(pixels: Uint8Array, factor: number): void {
  let sum = 0
  for (let i = 0; i < pixels.length; i += 3) sum += grey(pixels, i)
  blendWithLevel(pixels, Math.trunc(sum / (pixels.length / 3) + 0.5), factor)
}

/** Greyscale at a factor of 0, unchanged at 1. */
export function adjustSaturation(pixels: Uint8Array, factor: number): void {
  const rounded = Math.fround(factor)
  for (let i = 0; i < pixels.length; i += 3) {
    const level = grey(pixels, i)
    pixels[i] = blend(level, pixels[i]!, rounded)
    pixels[i + 1] = blend(level, pixels[i + 1]!, rounded)
    pixels[i + 2] = blend(level, pixels[i + 2]!, rounded)
  }
}

/** Turns the hue by a share of the circle, −0.5 to 0.5, by way of hue, saturation and value of 8 bits each. */
export function adjustHue(pixels: Uint8Array, share: number): void {
  const turn = Math.trunc(share * 255) & 255
  for (let i = 0; i < pixels.length; i += 3) {
    const red = pixels[i]!
    const green = pixels[i + 1]!
    const blue = pixels[i + 2]!
    const value = Math.max(red, green, blue)
    const range = value - Math.min(red, green, blue)
    // A grey has no hue.
    if (range === 0) continue
    const saturation = Math.trunc(Math.fround(range / value) * 255)
    const hue = (hueOf(red, green, blue, value, range) + turn) & 255
    if (saturation === 0) {
      pixels.fill(value, i, i + 3)
      continue
    }
    const sixth = Math.fround(Math.fround(hue * 6) / 255)
    const sector = Math.floor(sixth)
    const within = Math.fround(sixth - sector)
    const share = Math.fround(saturation / 255)
    const low = Math.round(value * (1 - share))
    const falling = Math.round(value * (1 - Math.fround(share * within)))
    const rising = Math.round(value * (1 - share * (1 - within)))
    switch (sector % 6) {
      case 0:
        setPixel(pixels, i, value, rising, low)
        break
      case 1:
        setPixel(pixels, i, falling, value, low)
        break
      case 2:
        setPixel(pixels, i, low, value, rising)
        break
      case 3:
        setPixel(pixels, i, low, falling, value)
        break
      case 4:
        setPixel(pixels, i, rising, low, value)
        break
      default:
        setPixel(pixels, i, value, low, falling)
    }
  }
}

/** Where on the circle of 255 levels a pixel's hue is; red is 0. */
function hueOf(red: number, green: number, blue: number, value: number, range: number): number {
  const r = Math.fround((value - red) / range)
  const g = Math.fround((value - green) / range)
  const b = Math.fround((value - blue) / range)
  const sixths = Math.fround(red === value ? b - g : green === value ? 2 + r - b : 4 + g - r)
  const turns = Math.fround((sixths / 6 + 1) % 1)
  return Math.trunc(turns * 255)
}

function setPixel(pixels: Uint8Array, at: number, red: number, green: number, blue: number): void {
  pixels[at] = red
  pixels[at + 1] = green
  pixels[at + 2] = blue
}

export function toGreyscale(pixels: Uint8Array): void {
  for (let i = 0; i < pixels.length; i += 3) pixels.fill(grey(pixels, i), i, i + 3)
}

/** Inverts what is at the threshold or above. */
export function solarise(pixels: Uint8Array, threshold = 128): void {
  for (let i = 0; i < pixels.length; i++) {
    const value = pixels[i]!
    if (value >= threshold) pixels[i] = 255 - value
  }
}
