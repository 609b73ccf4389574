import { type NdArray, zeros } from './array.ts'

/**
 * A convolution whose kernel is its stride, plus positions: x [B, C, H, W], weight [D, C, p, p], bias [D]
 * and pos [T, D] or none -> tokens [B, T, D], T = (H / p)(W / p) in row-major order.
 */
export function patchEmbed(x: NdArray, weight: NdArray, bias?: NdArray, pos?: NdArray): NdArray {
  const [batch] = x.shape
  const [width] = weight.shape
  const tokens = tokenCount(x, weight)
  const out = zeros([batch, tokens, width])
  for (let b = 0; b < batch; b++) {
    for (let t = 0; t < tokens; t++) {
      for (let o = 0; o < width; o++) {
        let value = (bias ? bias.data[o] : 0) + (pos ? pos.data[t * width + o] : 0)
        forPatch(x, weight, b, t, o, (xAt, weightAt) => {
          value += x.data[xAt] * weight.data[weightAt]
        })
        out.data[(b * tokens + t) * width + o] = value
      }
    }
  }
  return out
}

export function patchEmbedBackward(
  dy: NdArray,
  x: NdArray,
  weight: NdArray,
): { dx: NdArray; dWeight: NdArray; dBias: NdArray } {
  const [batch, tokens, width] = dy.shape
  const dx = zeros(x.shape)
  const dWeight = zeros(weight.shape)
  const dBias = zeros([width])
  for (let b = 0; b < batch; b++) {
    for (let t = 0; t < tokens; t++) {
      for (let o = 0; o < width; o++) {
        const d = dy.data[(b * tokens + t) * width + o]
        dBias.data[o] += d
        forPatch(x, weight, b, t, o, (xAt, weightAt) => {
          dx.data[xAt] += d * weight.data[weightAt]
          dWeight.data[weightAt] += d * x.data[xAt]
        })
      }
    }
  }
  return { dx, dWeight, dBias }
}

function tokenCount(x: NdArray, weight: NdArray): number {
  const patch = weight.shape[2]
  return (x.shape[2] / patch) * (x.shape[3] / patch)
}

// Visits (channel, py, px) of patch t: the element of x and that of the weight's row o.
function forPatch(
  x: NdArray,
  weight: NdArray,
  b: number,
  t: number,
  o: number,
  visit: (xAt: number, weightAt: number) => void,
): void {
  const [, channels, height, width] = x.shape
  const patch = weight.shape[2]
  const row = Math.floor(t / (width / patch))
  const column = t % (width / patch)
  for (let c = 0; c < channels; c++) {
    for (let py = 0; py < patch; py++) {
      for (let px = 0; px < patch; px++) {
        const xAt = ((b * channels + c) * height + row * patch + py) * width + column * patch + px
        visit(xAt, ((o * channels + c) * patch + py) * patch + px)
      }
    }
  }
}
