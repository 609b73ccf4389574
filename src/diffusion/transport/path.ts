/** The paths of the original SiT (willisma/SiT, transport/path.py): x_t = α x_1 + σ x_0 between noise x_0 (t = 0) and data x_1 (t = 1). */

export const TRANSPORT_PATHS = ['Linear', 'GVP', 'VP'] as const

/** `Linear`; `GVP`, the generalised variance-preserving, cosine path; `VP`, the variance-preserving diffusion of score models. */
export type TransportPath = (typeof TRANSPORT_PATHS)[number]

/** A path's coefficients at one time, and their derivatives by it. */
export interface PathPoint {
  readonly alpha: number
  readonly sigma: number
  readonly dAlpha: number
  readonly dSigma: number
  /** α' / α, in a form that loses nothing where α is small. */
  readonly alphaRatio: number
}

export function pathPoint(path: TransportPath, t: number): PathPoint {
  switch (path) {
    case 'Linear':
      return { alpha: t, sigma: 1 - t, dAlpha: 1, dSigma: -1, alphaRatio: 1 / t }
    case 'GVP':
      return cosinePoint(t)
    case 'VP':
      return variancePreservingPoint(t)
  }
}

function cosinePoint(t: number): PathPoint {
  const angle = (Math.PI / 2) * t
  const [sine, cosine] = [Math.sin(angle), Math.cos(angle)]
  return {
    alpha: sine,
    sigma: cosine,
    dAlpha: (Math.PI / 2) * cosine,
    dSigma: (-Math.PI / 2) * sine,
    alphaRatio: Math.PI / (2 * Math.tan(angle)),
  }
}

/** The noise rate of the VP path at its two ends (sigma_min and sigma_max; β_min and β_max of score models). */
const [LEAST_RATE, LARGEST_RATE] = [0.1, 20]

function variancePreservingPoint(t: number): PathPoint {
  const rest = 1 - t
  const logMean = -0.25 * rest * rest * (LARGEST_RATE - LEAST_RATE) - 0.5 * rest * LEAST_RATE
  const logMeanSlope = 0.5 * rest * (LARGEST_RATE - LEAST_RATE) + 0.5 * LEAST_RATE
  const alpha = Math.exp(logMean)
  // 1 − α², which cancels near the data.
  const sigma = Math.sqrt(-Math.expm1(2 * logMean))
  return {
    alpha,
    sigma,
    dAlpha: alpha * logMeanSlope,
    dSigma: -(alpha * alpha * logMeanSlope) / sigma,
    alphaRatio: logMeanSlope,
  }
}

/** Of the path as a diffusion, dx = α'/α x dt + √(2 w) dB: w, half of the squared diffusion (drift_var of compute_drift). */
export function pathDiffusion({ alphaRatio, sigma, dSigma }: PathPoint, path: TransportPath): number {
  // Of the VP path, α'/α σ² − σ σ' is β(t) / 2, which is α'/α.
  return path === 'VP' ? alphaRatio : alphaRatio * sigma * sigma - sigma * dSigma
}
