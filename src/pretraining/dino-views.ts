import { type KeyedRandom, keyedRandom } from '../data/keyed-random.ts'
import type { RgbImage } from '../data/rgb-image.ts'
import { toPlanes } from '../tensor/planes.ts'
import {
  adjustBrightness,
  adjustContrast,
  adjustHue,
  adjustSaturation,
  solarise,
  toGreyscale,
} from './colour-adjustments.ts'
import type { ImageBatch } from './method.ts'
import { type CropOptions, randomResizedCrop } from './random-resized-crop.ts'

/** Views of every image of a batch, those of one kind together: u8 [views · count, 3, size, size], the images' first views first. */
export interface Views {
  readonly pixels: Uint8Array
  readonly views: number
  readonly size: number
}

export interface ViewOptions {
  /** How many views are local; two are global. */
  readonly localViews: number
  /** Sides in pixels. */
  readonly globalSize: number
  readonly localSize: number
}

/** Keeps these draws apart from whatever else is drawn by seed and step: "view" in ASCII. */
const STREAM = 0x76_69_65_77

/** Shares of an image's area: a local view of a small image is of more than the reference's, 0.05 to 0.4. */
const GLOBAL_AREA = [0.4, 1] as const
const LOCAL_AREA = [0.2, 0.5] as const

/** torchvision's ColorJitter of the reference: factors within 1 ± these, and a turn of the hue of up to a tenth of the circle. */
const JITTER = { brightness: 0.4, contrast: 0.4, saturation: 0.2, hue: 0.1 }

/** How often a view is changed so. */
const PROBABILITY = { jitter: 0.8, greyscale: 0.2, solarisation: 0.2 }

/**
 * DINO's views of images (DataAugmentationDINO of facebookresearch/dino), without its blur: its radius, 0.1 to 2 pixels of 224, is
 * less than one of the small images that this trains on. What image i of step s gets depends on the seed, s and i alone.
 */
export function drawViews(
  images: ImageBatch,
  { localViews, globalSize, localSize }: ViewOptions,
  { seed, step }: { readonly seed: number; readonly step: number },
): { global: Views; local: Views } {
  const global = emptyViews(2, globalSize, images.count)
  const local = emptyViews(localViews, localSize, images.count)
  for (let i = 0; i < images.count; i++) {
    const random = keyedRandom(seed, STREAM, step, i)
    for (const kind of [global, local]) {
      const crop: CropOptions = { size: kind.size, area: kind === global ? GLOBAL_AREA : LOCAL_AREA }
      for (let view = 0; view < kind.views; view++) {
        const picture = randomResizedCrop(images, i, crop, random)
        changeColours(picture, random)
        if (kind === global && view === 1 && random.uniform() < PROBABILITY.solarisation) solarise(picture.data)
        toPlanes(picture, kind.pixels, (view * images.count + i) * 3 * kind.size ** 2)
      }
    }
  }
  return { global, local }
}

function emptyViews(views: number, size: number, count: number): Views {
  return { pixels: new Uint8Array(views * count * 3 * size * size), views, size }
}

function changeColours({ data }: RgbImage, random: KeyedRandom): void {
  if (random.uniform() < PROBABILITY.jitter) jitter(data, random)
  if (random.uniform() < PROBABILITY.greyscale) toGreyscale(data)
}

/** The four changes in a random order. */
function jitter(pixels: Uint8Array, random: KeyedRandom): void {
  const around = (range: number) => random.uniform(1 - range, 1 + range)
  const changes = [
    () => adjustBrightness(pixels, around(JITTER.brightness)),
    () => adjustContrast(pixels, around(JITTER.contrast)),
    () => adjustSaturation(pixels, around(JITTER.saturation)),
    () => adjustHue(pixels, random.uniform(-JITTER.hue, JITTER.hue)),
  ]
  while (changes.length > 0) {
    const [change] = changes.splice(Math.floor(random.uniform(0, changes.length)), 1)
    change!()
  }
}
