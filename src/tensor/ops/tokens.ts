import { native } from '../../native.ts'
import { Tensor } from '../tensor.ts'

/** [class + its position | registers | patches + positions] for patches [B, T, D]. Not differentiable. */
export function prependTokens(
  patches: Tensor,
  parts: { positions?: Tensor; classToken?: Tensor; classPosition?: Tensor; registers?: Tensor },
): Tensor {
  return new Tensor(
    native().prependTokens(
      patches.handle,
      parts.positions?.handle ?? null,
      parts.classToken?.handle ?? null,
      parts.classPosition?.handle ?? null,
      parts.registers?.handle ?? null,
    ),
    patches.device,
  )
}

/** x[:, first:] of x [B, N, D]. Not differentiable. */
export function dropTokens(x: Tensor, first: number): Tensor {
  return new Tensor(native().dropTokens(x.handle, first), x.device)
}
