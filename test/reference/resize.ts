import { type NdArray, zeros } from './array.ts'

export interface ResizeOptions {
  readonly method: 'bicubic' | 'bilinear'
  readonly antialias: boolean
  /**
   * Output size over input size as given to `torch.nn.functional.interpolate(scale_factor=...)`, per axis. The
   * positions then follow this number and not the sizes: DINOv2 passes (grid + 0.1) / 37. Without antialias only.
   */
  readonly scaleFactor?: readonly [number, number]
}

interface Tap {
  readonly index: number
  readonly weight: number
}

/** `interpolate(..., align_corners=False)`: x [..., H, W] -> [..., height, width], half-pixel centres. */
export function resize(x: NdArray, height: number, width: number, options: ResizeOptions): NdArray {
  const [inHeight, inWidth] = x.shape.slice(-2)
  const rows = resizeTaps(inHeight, height, options, options.scaleFactor?.[0])
  const columns = resizeTaps(inWidth, width, options, options.scaleFactor?.[1])
  const planes = x.data.length / (inHeight * inWidth)
  const out = zeros([...x.shape.slice(0, -2), height, width])
  for (let plane = 0; plane < planes; plane++) {
    for (let y = 0; y < height; y++) {
      for (let column = 0; column < width; column++) {
        let value = 0
        for (const a of rows[y]) {
          for (const b of columns[column]) {
            value += a.weight * b.weight * x.data[(plane * inHeight + a.index) * inWidth + b.index]
          }
        }
        out.data[(plane * height + y) * width + column] = value
      }
    }
  }
  return out
}

/** For every output position along one axis, the input positions that it reads and their weights. */
export function resizeTaps(input: number, output: number, options: ResizeOptions, scaleFactor?: number): Tap[][] {
  // torch rounds it to float32, for float32 images, and nothing after it.
  const step = Math.fround(scaleFactor === undefined ? input / output : 1 / scaleFactor)
  return Array.from({ length: output }, (_, i) =>
    options.antialias ? antialiasedTaps(i, step, input, options.method) : plainTaps(i, step, input, options.method),
  )
}

// Two or four taps around the source position; outside the image the edge is repeated.
function plainTaps(i: number, step: number, input: number, method: ResizeOptions['method']): Tap[] {
  const position = (i + 0.5) * step - 0.5
  const source = method === 'bilinear' ? Math.max(position, 0) : position
  const base = Math.floor(source)
  const offsets = method === 'bilinear' ? [0, 1] : [-1, 0, 1, 2]
  return offsets.map((offset) => ({
    index: Math.min(Math.max(base + offset, 0), input - 1),
    weight: method === 'bilinear' ? triangle(source - base - offset) : keys(source - base - offset, -0.75),
  }))
}

// The filter is stretched by the reduction, cut at the image's edge and normalised to sum to 1.
function antialiasedTaps(i: number, step: number, input: number, method: ResizeOptions['method']): Tap[] {
  const stretch = Math.max(step, 1)
  const support = (method === 'bilinear' ? 1 : 2) * stretch
  const centre = (i + 0.5) * step
  const first = Math.max(Math.trunc(centre - support + 0.5), 0)
  const last = Math.min(Math.trunc(centre + support + 0.5), input)
  const taps: Tap[] = []
  for (let index = first; index < last; index++) {
    const distance = (index - centre + 0.5) / stretch
    taps.push({ index, weight: method === 'bilinear' ? triangle(distance) : keys(distance, -0.5) })
  }
  const total = taps.reduce((a, tap) => a + tap.weight, 0)
  return taps.map((tap) => ({ index: tap.index, weight: tap.weight / total }))
}

function triangle(x: number): number {
  return Math.max(1 - Math.abs(x), 0)
}

// Keys' cubic convolution kernel (1981); PyTorch has a = -0.75 without antialias and a = -0.5 with it.
function keys(x: number, a: number): number {
  const d = Math.abs(x)
  if (d < 1) return (a + 2) * d ** 3 - (a + 3) * d ** 2 + 1
  if (d < 2) return a * d ** 3 - 5 * a * d ** 2 + 8 * a * d - 4 * a
  return 0
}
