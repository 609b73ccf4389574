import { type NdArray, zeros } from './array.ts'

export type Path = 'linear' | 'cosine'

/** alpha_t, sigma_t and their derivatives in t; t = 0 is data, t = 1 is noise. */
export interface PathCoefficients {
  readonly alpha: number
  readonly sigma: number
  readonly dAlpha: number
  readonly dSigma: number
}

export function pathCoefficients(path: Path, t: number): PathCoefficients {
  if (path === 'linear') return { alpha: 1 - t, sigma: t, dAlpha: -1, dSigma: 1 }
  const angle = (Math.PI / 2) * t
  return {
    alpha: Math.cos(angle),
    sigma: Math.sin(angle),
    dAlpha: (-Math.PI / 2) * Math.sin(angle),
    dSigma: (Math.PI / 2) * Math.cos(angle),
  }
}

/** REPA's `lognormal` weighting: a standard normal n gives t through s = e^n. */
export function lognormalTime(path: Path, normal: number): number {
  const s = Math.exp(normal)
  return path === 'linear' ? s / (1 + s) : (2 / Math.PI) * Math.atan(s)
}

/** x_t = alpha x + sigma eps and the velocity target alpha' x + sigma' eps; x and noise [B, ...], t [B]. */
export function interpolant(x: NdArray, noise: NdArray, t: NdArray, path: Path): { xt: NdArray; target: NdArray } {
  const size = x.data.length / t.data.length
  const xt = zeros(x.shape)
  const target = zeros(x.shape)
  for (let i = 0; i < x.data.length; i++) {
    const { alpha, sigma, dAlpha, dSigma } = pathCoefficients(path, t.data[Math.floor(i / size)])
    xt.data[i] = alpha * x.data[i] + sigma * noise.data[i]
    target.data[i] = dAlpha * x.data[i] + dSigma * noise.data[i]
  }
  return { xt, target }
}
