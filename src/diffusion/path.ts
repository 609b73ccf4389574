import type { InterpolantPath } from '../native.ts'

/** The coefficients of x_t = α x + σ ε and of its velocity α' x + σ' ε at one time; t = 0 is data, t = 1 noise. */
export interface PathCoefficients {
  readonly alpha: number
  readonly sigma: number
  readonly dAlpha: number
  readonly dSigma: number
}

/** REPA's two paths (loss.py, SILoss.interpolant). */
export function pathCoefficients(path: InterpolantPath, t: number): PathCoefficients {
  if (path === 'linear') return { alpha: 1 - t, sigma: t, dAlpha: -1, dSigma: 1 }
  const angle = (Math.PI / 2) * t
  return {
    alpha: Math.cos(angle),
    sigma: Math.sin(angle),
    dAlpha: (-Math.PI / 2) * Math.sin(angle),
    dSigma: (Math.PI / 2) * Math.cos(angle),
  }
}
