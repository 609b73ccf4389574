import { native } from '../../native.ts'
import { scope } from '../scope.ts'
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

/** x[:, first : first + count] of x [B, N, D]. Not differentiable. */
export function takeTokens(x: Tensor, first: number, count: number): Tensor {
  const [batch, tokens, width] = x.shape
  if (first < 0 || count < 0 || first + count > (tokens ?? 0)) {
    throw new RangeError(`takeTokens: tokens ${first} to ${first + count} are not in a tensor of shape [${x.shape}].`)
  }
  const ids = Int32Array.from(
    { length: batch! * count },
    (_, i) => Math.floor(i / count) * tokens! + first + (i % count),
  )
  return scope(() => {
    const rows = new Tensor(
      native().embedding(x.reshape([batch! * tokens!, width!]).handle, Tensor.from(ids, [ids.length], x.device).handle),
      x.device,
    )
    return rows.reshape([batch!, count, width!])
  })
}
