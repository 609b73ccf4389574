/** The range to which the logarithm of the variance is clamped, as in diffusers' DiagonalGaussianDistribution. */
const LOG_VARIANCE = { least: -30, most: 20 } as const

/**
 * A posterior's mean and logarithm of the variance [N, 2C, h, w] → mean and standard deviation, as data sets store them.
 */
export function momentsOf(parameters: Float32Array, shape: readonly number[]): Float32Array<ArrayBuffer> {
  const [count, channels] = shape as [number, number]
  const moments = new Float32Array(parameters)
  const sample = moments.length / count
  const half = sample / 2
  if (!Number.isInteger(half) || channels % 2 !== 0) {
    throw new RangeError(`momentsOf: the parameters have shape [${shape}]; expected [N, 2C, h, w].`)
  }
  for (let n = 0; n < count; n++) {
    for (let i = n * sample + half; i < (n + 1) * sample; i++) {
      const logVariance = Math.min(LOG_VARIANCE.most, Math.max(LOG_VARIANCE.least, moments[i]!))
      moments[i] = Math.exp(0.5 * logVariance)
    }
  }
  return moments
}
