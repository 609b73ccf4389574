import { type NdArray, zeros } from './array.ts'

/** The image that patches lie in. */
export interface PatchGrid {
  readonly patch: number
  readonly channels: number
  readonly height: number
  readonly width: number
}

/** Where a pixel is in its patch. */
type Place = (grid: PatchGrid, channel: number, py: number, px: number) => number

const channelLast: Place = ({ patch, channels }, channel, py, px) => (py * patch + px) * channels + channel
const channelFirst: Place = ({ patch }, channel, py, px) => (channel * patch + py) * patch + px

/** tokens [B, T, p * p * C], each (py, px, c) with the channel fastest -> image [B, C, H, W]. */
export const unpatchify = (tokens: NdArray, grid: PatchGrid): NdArray => imageOf(tokens, grid, channelLast)
/** The inverse, which is also the gradient: image [B, C, H, W] -> tokens [B, T, p * p * C]. */
export const unpatchifyInverse = (image: NdArray, grid: PatchGrid): NdArray => patchesOf(image, grid, channelLast)
/** image [B, C, H, W] -> patches [B, T, C * p * p], each (c, py, px) as a convolution's weight has them. */
export const patchify = (image: NdArray, grid: PatchGrid): NdArray => patchesOf(image, grid, channelFirst)
/** The inverse, which is also the gradient. */
export const patchifyInverse = (patches: NdArray, grid: PatchGrid): NdArray => imageOf(patches, grid, channelFirst)

function imageOf(patches: NdArray, grid: PatchGrid, place: Place): NdArray {
  const image = zeros([patches.shape[0], grid.channels, grid.height, grid.width])
  forElements(patches.shape[0], grid, place, (element, pixel) => {
    image.data[pixel] = patches.data[element]
  })
  return image
}

function patchesOf(image: NdArray, grid: PatchGrid, place: Place): NdArray {
  const { patch, channels, height, width } = grid
  const patches = zeros([image.shape[0], (height / patch) * (width / patch), patch * patch * channels])
  forElements(image.shape[0], grid, place, (element, pixel) => {
    patches.data[element] = image.data[pixel]
  })
  return patches
}

function forElements(
  batch: number,
  grid: PatchGrid,
  place: Place,
  visit: (element: number, pixel: number) => void,
): void {
  const { patch, channels, height, width } = grid
  const [across, tokens] = [width / patch, (height / patch) * (width / patch)]
  for (let b = 0; b < batch; b++) {
    for (let c = 0; c < channels; c++) {
      for (let y = 0; y < height; y++) {
        for (let x = 0; x < width; x++) {
          const token = b * tokens + Math.floor(y / patch) * across + Math.floor(x / patch)
          const element = token * patch * patch * channels + place(grid, c, y % patch, x % patch)
          visit(element, ((b * channels + c) * height + y) * width + x)
        }
      }
    }
  }
}
