import { type NdArray, zeros } from './array.ts'

/** The floor under a norm in `torch.nn.functional.cosine_similarity`. */
const NORM_FLOOR = 1e-8

/** Per sample the mean over pixels of 1 − cos over the channels, [B, C, pixels] → [B]. */
export function velocityCosine(prediction: NdArray, target: NdArray): NdArray {
  const [batch] = prediction.shape
  const loss = zeros([batch])
  eachPixel(prediction, ({ sample, pixels, at }) => {
    const [p, t] = [at.map((i) => prediction.data[i]), at.map((i) => target.data[i])]
    loss.data[sample] += (1 - dot(p, t) / (Math.max(norm(p), NORM_FLOOR) * Math.max(norm(t), NORM_FLOOR))) / pixels
  })
  return loss
}

/** Gradient of the mean over samples with regard to the prediction, times dLoss. */
export function velocityCosineBackward(prediction: NdArray, target: NdArray, dLoss = 1): NdArray {
  const d = zeros(prediction.shape)
  eachPixel(prediction, ({ pixels, at }) => {
    const [p, t] = [at.map((i) => prediction.data[i]), at.map((i) => target.data[i])]
    const [n, m] = [Math.max(norm(p), NORM_FLOOR), Math.max(norm(t), NORM_FLOOR)]
    const cosine = dot(p, t) / (n * m)
    const own = norm(p) > 0 ? cosine / (n * norm(p)) : 0
    for (const [k, i] of at.entries())
      d.data[i] = (-dLoss / (prediction.shape[0] * pixels)) * (t[k] / (n * m) - own * p[k])
  })
  return d
}

/** `at`: where a pixel's channels are. */
function eachPixel(
  { shape }: NdArray,
  body: (pixel: { readonly sample: number; readonly pixels: number; readonly at: readonly number[] }) => void,
): void {
  const [batch, channels, ...rest] = shape
  const pixels = rest.reduce((a, b) => a * b, 1)
  for (let sample = 0; sample < batch; sample++)
    for (let pixel = 0; pixel < pixels; pixel++) {
      const at = Array.from({ length: channels }, (_, channel) => (sample * channels + channel) * pixels + pixel)
      body({ sample, pixels, at })
    }
}

const dot = (a: readonly number[], b: readonly number[]) => a.reduce((sum, value, i) => sum + value * b[i], 0)
const norm = (a: readonly number[]) => Math.sqrt(dot(a, a))
