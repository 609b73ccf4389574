import { type InterpolantPath, native } from '../../native.ts'
import { Tensor } from '../tensor.ts'

/** x_t = α x + σ ε and the velocity α' x + σ' ε, for x, noise [B, ...] and t [B]. */
export function interpolant(
  x: Tensor,
  noise: Tensor,
  t: Tensor,
  path: InterpolantPath,
): { interpolated: Tensor; velocity: Tensor } {
  const [interpolated, velocity] = native().interpolant(x.handle, noise.handle, t.handle, path)
  return { interpolated: new Tensor(interpolated, x.device), velocity: new Tensor(velocity, x.device) }
}

/** (mean + std · noise) · scale + bias for moments [B, 2C, h, w] = mean | std. */
export function samplePosterior(moments: Tensor, noise: Tensor, scale: number, bias: number): Tensor {
  return new Tensor(native().samplePosterior(moments.handle, noise.handle, scale, bias), moments.device)
}
