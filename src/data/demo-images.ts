import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { makeFolder } from '../formats/make-folder.ts'
import { type KeyedRandom, keyedRandom } from './keyed-random.ts'
import { mix, oklch, type Rgb } from './oklch.ts'
import { encodePng } from './png.ts'
import { box, disc, spiral, star, triangle } from './signed-distance.ts'

/** Colour at (x, y), both from −1 to 1 and y downward. */
type Picture = (x: number, y: number) => Rgb

/** Draws a random picture of its class; `pixel` is the width of one, over which edges are softened. */
type Painter = (random: KeyedRandom, pixel: number) => Picture

/** Negative inside. */
type Outline = (x: number, y: number) => number

const PAINTERS: Readonly<Record<string, Painter>> = {
  disc: shapeOf(20, (random) => {
    const r = random.uniform(0.46, 0.66)
    return (x, y) => disc(x, y, r)
  }),
  ring: shapeOf(195, (random) => {
    const r = random.uniform(0.46, 0.6)
    const w = random.uniform(0.13, 0.18)
    return (x, y) => Math.abs(disc(x, y, r)) - w
  }),
  square: shapeOf(262, (random) => {
    const side = random.uniform(0.4, 0.54)
    return (x, y) => box(x, y, side, side, 0.07)
  }),
  triangle: shapeOf(148, (random) => {
    const r = random.uniform(0.62, 0.8)
    return (x, y) => triangle(x, y, r) - 0.05
  }),
  star: shapeOf(88, (random) => {
    const r = random.uniform(0.64, 0.82)
    return (x, y) => star(x, y, r, 0.47) - 0.03
  }),
  cross: shapeOf(340, (random) => {
    const arm = random.uniform(0.56, 0.72)
    const w = random.uniform(0.17, 0.23)
    return (x, y) => Math.min(box(x, y, arm, w, 0.05), box(x, y, w, arm, 0.05))
  }),
  spiral: shapeOf(50, (random) => {
    const pitch = random.uniform(0.46, 0.54)
    const r = random.uniform(0.74, 0.88)
    return (x, y) => spiral(x, y, pitch, pitch * 0.29, r)
  }),
  stripes: paintStripes,
  checkerboard: paintCheckerboard,
  sunset: paintSunset,
}

/** The ten classes, in the order of their indices. */
export const DEMO_CLASSES: readonly string[] = Object.keys(PAINTERS)

export interface DemoImageOptions {
  /** Width and height in pixels. Default 32. */
  readonly size?: number
  /** Default 0. */
  readonly seed?: number
}

/**
 * Draws image `index` of a class of the demo's data set. The pixels depend on (seed, class, index, size) alone.
 *
 * @returns uint8 RGB, HWC, `size × size × 3`.
 * @throws RangeError where there is no such class, or an argument is not a whole number from 0 (size: from 8).
 */
export function renderDemoImage(
  classIndex: number,
  index: number,
  { size = 32, seed = 0 }: DemoImageOptions = {},
): Uint8Array {
  const name = DEMO_CLASSES[classIndex]
  if (name === undefined) {
    throw new RangeError(`renderDemoImage: expected a class from 0 to ${DEMO_CLASSES.length - 1}, got ${classIndex}.`)
  }
  requireInteger('index', index, 0)
  requireInteger('seed', seed, 0)
  requireInteger('size', size, 8)
  const random = keyedRandom(seed, classIndex, index)
  const picture = PAINTERS[name]!(random, 2 / size)
  const grain = keyedRandom(seed, classIndex, index, 1)
  const pixels = new Uint8Array(size * size * 3)
  let to = 0
  for (let row = 0; row < size; row++) {
    for (let column = 0; column < size; column++) {
      const colour = picture(((column + 0.5) / size) * 2 - 1, ((row + 0.5) / size) * 2 - 1)
      const noise = grain.normal() * GRAIN
      for (const channel of colour) pixels[to++] = Math.round(Math.min(255, Math.max(0, channel * 255 + noise)))
    }
  }
  return pixels
}

export interface DemoSetOptions extends DemoImageOptions {
  readonly perClass: number
}

/** Writes `perClass` images of each class as `DIR/<class>/<index>.png`, the layout that `repa prepare` reads. */
export async function writeDemoImages(
  directory: string,
  { perClass, size = 32, seed = 0 }: DemoSetOptions,
): Promise<void> {
  requireInteger('perClass', perClass, 1)
  for (const [classIndex, name] of DEMO_CLASSES.entries()) {
    const folder = join(directory, name)
    await makeFolder(folder)
    for (let index = 0; index < perClass; index++) {
      const png = encodePng(renderDemoImage(classIndex, index, { size, seed }), size, size, 3)
      await writeFile(join(folder, `${String(index).padStart(5, '0')}.png`), png)
    }
  }
}

/** Standard deviation of the noise on every pixel, in steps of 8-bit lightness. */
const GRAIN = 2.5

/** A shape about the colour `hue` on a soft ground: moved, turned and sized at random. */
function shapeOf(hue: number, outlineOf: (random: KeyedRandom) => Outline): Painter {
  return (random, pixel) => {
    const ground = groundFor(hue, random)
    const outline = outlineOf(random)
    const [cx, cy] = [random.uniform(-0.16, 0.16), random.uniform(-0.16, 0.16)]
    const angle = random.uniform(-0.35, 0.35)
    const [cos, sin] = [Math.cos(angle), Math.sin(angle)]
    const paint = hue + random.uniform(-16, 16)
    const lightness = (hue > 60 && hue < 130 ? 0.78 : 0.64) + random.uniform(-0.04, 0.04)
    const [lit, shaded] = [oklch(lightness + 0.06, 0.18, paint), oklch(lightness - 0.06, 0.18, paint - 8)]
    return (x, y) => {
      const [dx, dy] = [x - cx, y - cy]
      const distance = outline(cos * dx + sin * dy, cos * dy - sin * dx)
      return mix(ground(x, y), mix(lit, shaded, 0.5 + 0.5 * dy), coverage(distance, pixel))
    }
  }
}

/** A soft gradient: light, of a hue across from the shape's, or now and then the blue of night. */
function groundFor(hue: number, random: KeyedRandom): Picture {
  const isDark = random.uniform() < 0.3
  const ground = (isDark ? 275 : hue + 180) + random.uniform(-50, 50)
  const angle = random.uniform(0, 2 * Math.PI)
  const [cos, sin] = [Math.cos(angle), Math.sin(angle)]
  const [from, to] = isDark
    ? [oklch(0.34, 0.06, ground), oklch(0.25, 0.05, ground + 20)]
    : [oklch(0.96, 0.025, ground), oklch(0.88, 0.05, ground + 20)]
  return (x, y) => mix(from, to, 0.5 + 0.35 * (cos * x + sin * y))
}

function paintStripes(random: KeyedRandom, pixel: number): Picture {
  const hue = 300 + random.uniform(-16, 16)
  const [dark, light] = [oklch(0.5, 0.17, hue), oklch(0.92, 0.05, hue + random.uniform(20, 60))]
  const angle = Math.PI / 4 + random.uniform(-0.3, 0.3)
  const [cos, sin] = [Math.cos(angle), Math.sin(angle)]
  const period = random.uniform(0.5, 0.62)
  const phase = random.uniform()
  return (x, y) => mix(dark, light, band((cos * x + sin * y) / period + phase, pixel / period))
}

function paintCheckerboard(random: KeyedRandom, pixel: number): Picture {
  const hue = 232 + random.uniform(-16, 16)
  const [dark, light] = [oklch(0.38, 0.09, hue), oklch(0.94, 0.03, hue + 150)]
  const angle = random.uniform(-0.15, 0.15)
  const [cos, sin] = [Math.cos(angle), Math.sin(angle)]
  const period = random.uniform(0.86, 1.04)
  const [across, down] = [random.uniform(), random.uniform()]
  return (x, y) => {
    const a = band((cos * x + sin * y) / period + across, pixel / period)
    const b = band((cos * y - sin * x) / period + down, pixel / period)
    return mix(dark, light, a + b - 2 * a * b)
  }
}

/** A low sun over hills. */
function paintSunset(random: KeyedRandom, pixel: number): Picture {
  const dusk = random.uniform(-14, 14)
  const [zenith, horizon] = [oklch(0.46, 0.13, 300 + dusk), oklch(0.83, 0.13, 62 + dusk)]
  const glow = oklch(0.95, 0.1, 95 + dusk * 0.5)
  const [far, near] = [oklch(0.42, 0.08, 330 + dusk), oklch(0.26, 0.06, 290 + dusk)]
  const level = random.uniform(0.18, 0.34)
  const [sunX, sunY] = [random.uniform(-0.45, 0.45), level - random.uniform(0.12, 0.34)]
  const sunR = random.uniform(0.24, 0.32)
  const [phase, wave] = [random.uniform(0, 2 * Math.PI), random.uniform(2.4, 3.4)]
  return (x, y) => {
    const sky = mix(zenith, horizon, Math.min(1, Math.max(0, (y + 1) / (level + 1))))
    const halo = Math.exp(-3 * Math.max(0, disc(x - sunX, y - sunY, sunR)))
    const lit = mix(sky, glow, 0.35 * halo)
    const withSun = mix(lit, glow, coverage(disc(x - sunX, y - sunY, sunR), pixel))
    const farHill = level + 0.09 * Math.sin(wave * x + phase) - y
    const nearHill = level + 0.3 + 0.08 * Math.sin(wave * 0.8 * x - phase) - y
    return mix(mix(withSun, far, coverage(farHill, pixel)), near, coverage(nearHill, pixel))
  }
}

/** How much of a pixel lies inside an edge at this distance. */
function coverage(distance: number, pixel: number): number {
  return Math.min(1, Math.max(0, 0.5 - distance / pixel))
}

/** Alternates between 0 and 1, each for half a period of 1, with edges as soft as `pixel`. */
function band(position: number, pixel: number): number {
  const fraction = position - Math.floor(position)
  return coverage(Math.abs(fraction - 0.5) - 0.25, pixel)
}

function requireInteger(name: string, value: number, lowest: number): void {
  if (Number.isSafeInteger(value) && value >= lowest) return
  throw new RangeError(`demo images: expected ${name} to be a whole number of at least ${lowest}, got ${value}.`)
}
