import { native } from '../../native.ts'
import { Tensor } from '../tensor.ts'

/** torch.cat(parts, -1): [..., C_i] f32, alike in all other axes → [..., Σ C_i]. Not differentiable. */
export function concatenate(parts: readonly Tensor[]): Tensor {
  return new Tensor(native().concatenate(parts.map(({ handle }) => handle)), parts[0]!.device)
}
