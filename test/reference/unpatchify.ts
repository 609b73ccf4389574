import { type NdArray, zeros } from './array.ts'

/** The image that tokens lie in. */
export interface PatchGrid {
  readonly patch: number
  readonly channels: number
  readonly height: number
  readonly width: number
}

/** tokens [B, T, p * p * C], each (py, px, c) with the channel fastest -> image [B, C, H, W]. */
export function unpatchify(tokens: NdArray, grid: PatchGrid): NdArray {
  const image = zeros([tokens.shape[0], grid.channels, grid.height, grid.width])
  forElements(tokens.shape[0], grid, (token, pixel) => {
    image.data[pixel] = tokens.data[token]
  })
  return image
}

/** The inverse, which is also the gradient: image [B, C, H, W] -> tokens [B, T, p * p * C]. */
export function unpatchifyInverse(image: NdArray, grid: PatchGrid): NdArray {
  const { patch, channels, height, width } = grid
  const tokens = zeros([image.shape[0], (height / patch) * (width / patch), patch * patch * channels])
  forElements(image.shape[0], grid, (token, pixel) => {
    tokens.data[token] = image.data[pixel]
  })
  return tokens
}

function forElements(batch: number, grid: PatchGrid, visit: (token: number, pixel: number) => void): void {
  const { patch, channels, height, width } = grid
  for (let b = 0; b < batch; b++) {
    for (let c = 0; c < channels; c++) {
      for (let y = 0; y < height; y++) {
        for (let x = 0; x < width; x++) {
          const t = Math.floor(y / patch) * (width / patch) + Math.floor(x / patch)
          const tokens = (height / patch) * (width / patch)
          const within = ((y % patch) * patch + (x % patch)) * channels + c
          visit((b * tokens + t) * patch * patch * channels + within, ((b * channels + c) * height + y) * width + x)
        }
      }
    }
  }
}
