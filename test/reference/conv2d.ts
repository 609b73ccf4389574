import { type NdArray, zeros } from './array.ts'

export interface Conv2d {
  /** Nearest-neighbour interpolation before the convolution. */
  readonly upsample?: number
  readonly stride?: readonly [rows: number, columns: number]
  /** Zeros above, below, left, right. */
  readonly padding?: readonly [number, number, number, number]
}

/** x [N, H, W, C], weight [O, kh, kw, C] → [N, H', W', O], by the definition: torch.nn.functional.conv2d, channels last. */
export function conv2d(x: NdArray, weight: NdArray, bias: NdArray | undefined, options: Conv2d = {}): NdArray {
  const { upsample = 1, stride = [1, 1], padding = [0, 0, 0, 0] } = options
  const [count, height, width, channels] = x.shape as [number, number, number, number]
  const [outputs, kernelHeight, kernelWidth] = weight.shape as [number, number, number]
  const [top, bottom, left, right] = padding
  const outHeight = Math.floor((height * upsample + top + bottom - kernelHeight) / stride[0]) + 1
  const outWidth = Math.floor((width * upsample + left + right - kernelWidth) / stride[1]) + 1
  const out = zeros([count, outHeight, outWidth, outputs])
  let at = 0
  for (let n = 0; n < count; n++) {
    for (let y = 0; y < outHeight; y++) {
      for (let column = 0; column < outWidth; column++) {
        for (let o = 0; o < outputs; o++) {
          let sum = bias ? bias.data[o]! : 0
          for (let ky = 0; ky < kernelHeight; ky++) {
            const row = y * stride[0] + ky - top
            if (row < 0 || row >= height * upsample) continue
            for (let kx = 0; kx < kernelWidth; kx++) {
              const pixel = column * stride[1] + kx - left
              if (pixel < 0 || pixel >= width * upsample) continue
              const from = ((n * height + Math.floor(row / upsample)) * width + Math.floor(pixel / upsample)) * channels
              const to = ((o * kernelHeight + ky) * kernelWidth + kx) * channels
              for (let c = 0; c < channels; c++) sum += x.data[from + c]! * weight.data[to + c]!
            }
          }
          out.data[at++] = sum
        }
      }
    }
  }
  return out
}

export type PoolKind = 'max' | 'average' | 'average-including-zeros'

/** x [N, H, W, C] → [N, H', W', C]: torch's max_pool2d and avg_pool2d, channels last, floor mode. */
export function pool2d(
  x: NdArray,
  kind: PoolKind,
  kernel: readonly [number, number],
  stride: readonly [number, number],
  padding: readonly [number, number, number, number],
): NdArray {
  const [count, height, width, channels] = x.shape as [number, number, number, number]
  const [top, bottom, left, right] = padding
  const outHeight = Math.floor((height + top + bottom - kernel[0]) / stride[0]) + 1
  const outWidth = Math.floor((width + left + right - kernel[1]) / stride[1]) + 1
  const out = zeros([count, outHeight, outWidth, channels])
  let at = 0
  for (let n = 0; n < count; n++) {
    for (let y = 0; y < outHeight; y++) {
      for (let column = 0; column < outWidth; column++) {
        for (let c = 0; c < channels; c++) {
          const values: number[] = []
          for (let ky = 0; ky < kernel[0]; ky++) {
            for (let kx = 0; kx < kernel[1]; kx++) {
              const [row, pixel] = [y * stride[0] + ky - top, column * stride[1] + kx - left]
              const inside = row >= 0 && row < height && pixel >= 0 && pixel < width
              if (inside) values.push(x.data[((n * height + row) * width + pixel) * channels + c]!)
            }
          }
          const total = values.reduce((sum, value) => sum + value, 0)
          const size = kind === 'average' ? values.length : kernel[0] * kernel[1]
          out.data[at++] = kind === 'max' ? Math.max(...values) : total / size
        }
      }
    }
  }
  return out
}
