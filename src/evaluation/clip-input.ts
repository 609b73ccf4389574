import { resize } from '../data/resample.ts'
import type { RgbImage } from '../data/rgb-image.ts'
import { roundHalfEven } from '../tensor/round-half-even.ts'

/**
 * A picture as CLIP's image tower sees it, in bytes: the shorter side scaled to `size` by Pillow's bicubic filter, with antialias, then the
 * middle square. This is the transform of OpenAI's clip.load (torchvision's Resize, which cuts the longer side to whole pixels, and
 * CenterCrop, which rounds a half to the even pixel).
 */
export function clipInput(image: RgbImage, size: number): RgbImage {
  const shorter = Math.min(image.width, image.height)
  const [width, height] = [image.width, image.height].map((side) => Math.floor((size * side) / shorter)) as [
    number,
    number,
  ]
  const [left, top] = [width, height].map((side) => roundHalfEven((side - size) / 2)) as [number, number]
  return resize(image, width, height, 'bicubic', { left, top, width: size, height: size })
}
