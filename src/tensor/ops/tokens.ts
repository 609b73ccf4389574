import { native } from '../../native.ts'
import type { Gradients } from '../gradients.ts'
import { scope } from '../scope.ts'
import { recordingTape } from '../tape.ts'
import { Tensor } from '../tensor.ts'
import { resizeChannels } from './diffusion.ts'
import { reshape } from './reshape.ts'

/** [class + its position | registers | patches + positions] for patches [B, T, D]. Not differentiable in the positions. */
export function prependTokens(
  patches: Tensor,
  parts: { positions?: Tensor; classToken?: Tensor; classPosition?: Tensor; registers?: Tensor },
): Tensor {
  const { positions, classToken, classPosition, registers } = parts
  const tape = recordingTape(patches, classToken, registers)
  const out = new Tensor(
    native().prependTokens(
      patches.handle,
      positions?.handle ?? null,
      classToken?.handle ?? null,
      classPosition?.handle ?? null,
      registers?.handle ?? null,
    ),
    patches.device,
  )
  tape?.push([out], [], (gradients) => {
    const dOut = gradients.take(out)!
    const before = classToken ? 1 : 0
    const prefix = before + (registers?.shape[0] ?? 0)
    if (classToken) sharedTokensGradient(gradients, classToken, takeTokens(dOut, 0, before))
    if (registers) sharedTokensGradient(gradients, registers, takeTokens(dOut, before, prefix - before))
    gradients.add(patches, prefix === 0 ? dOut.alias() : dropTokens(dOut, prefix))
  })
  return out
}

/** Of tokens that every sample has: the sum over the batch of dTokens [B, R, D]. */
function sharedTokensGradient(gradients: Gradients, tokens: Tensor, dTokens: Tensor): void {
  if (!gradients.wants(tokens)) return
  const { into, accumulate } = gradients.into(tokens)
  const columns = tokens.elements
  native().columnSum(dTokens.reshape([dTokens.shape[0]!, columns]).handle, into.reshape([columns]).handle, accumulate)
}

/** x[:, first:] of x [B, N, D]. */
export function dropTokens(x: Tensor, first: number): Tensor {
  const tape = recordingTape(x)
  const out = new Tensor(native().dropTokens(x.handle, first), x.device)
  tape?.push([out], [], (gradients) => {
    const dOut = gradients.take(out)!
    gradients.add(x, first === 0 ? dOut.alias() : new Tensor(native().joinTokens(null, dOut.handle, first), x.device))
  })
  return out
}

/** [first | rest]: tokens [B, M, D] before tokens [B, N, D] of the same dtype of computation → [B, M + N, D]. */
export function joinTokens(first: Tensor, rest: Tensor): Tensor {
  const tape = recordingTape(first, rest)
  const out = new Tensor(native().joinTokens(first.handle, rest.handle, 0), first.device)
  tape?.push([out], [], (gradients) => {
    const [dFirst, dRest] = native().splitTokens(gradients.take(out)!.handle, first.shape[1]!)
    gradients.add(first, new Tensor(dFirst, first.device))
    gradients.add(rest, new Tensor(dRest, rest.device))
  })
  return out
}

/** [x[:, :first], x[:, first:]] of x [B, N, D] in a dtype of computation, both tensors of their own. */
export function splitTokens(x: Tensor, first: number): [Tensor, Tensor] {
  const tape = recordingTape(x)
  const [beforeHandle, behindHandle] = native().splitTokens(x.handle, first)
  const [before, behind] = [new Tensor(beforeHandle, x.device), new Tensor(behindHandle, x.device)]
  tape?.push([before, behind], [], (gradients) => {
    const [dBefore, dBehind] = [gradients.take(before), gradients.take(behind)]
    // Of what nothing has read the gradient is zeros.
    const zeros = !dBefore ? first : !dBehind ? x.shape[1]! - first : 0
    const dX = native().joinTokens(dBefore?.handle ?? null, dBehind?.handle ?? null, zeros)
    gradients.add(x, new Tensor(dX, x.device))
  })
  return [before, behind]
}

/** x[:, 0] of x [B, N, D]. */
export function firstToken(x: Tensor): Tensor {
  const [batch, , width] = x.shape
  return scope(() => reshape(takeTokens(x, 0, 1), [batch!, width!]))
}

/** x[:, first : first + count] of x [B, N, D]. */
export function takeTokens(x: Tensor, first: number, count: number): Tensor {
  const [batch, tokens] = x.shape
  if (first < 0 || count < 0 || first + count > (tokens ?? 0)) {
    throw new RangeError(`takeTokens: tokens ${first} to ${first + count} are not in a tensor of shape [${x.shape}].`)
  }
  // The first ones need no numbers from the host, which a captured step could not bring.
  if (first === 0 && count > 0) return resizeChannels(x, count)
  const ids = Int32Array.from({ length: batch! * count }, (_, i) => first + (i % count))
  return scope(() => gatherTokens(x, Tensor.from(ids, [batch!, count], x.device)))
}

/**
 * Tokens in another order: x [B, N, D] at ids i32 [B, M], each of its own sample → [B, M, D]. An id of −1 is `fill` [D] (MAE's mask
 * token); of no token at all, NaN.
 */
export function gatherTokens(x: Tensor, ids: Tensor, fill?: Tensor): Tensor {
  const tape = recordingTape(x, fill)
  const out = new Tensor(native().gatherTokens(x.handle, ids.handle, fill?.handle ?? null), x.device)
  tape?.push([out], [], (gradients) => {
    const dOut = gradients.take(out)!
    const [dX, dFill] = native().gatherTokensBackward(dOut.handle, ids.handle, x.shape[1]!, fill !== undefined)
    gradients.add(x, new Tensor(dX, x.device))
    if (fill) sharedTokensGradient(gradients, fill, new Tensor(dFill!, x.device))
  })
  return out
}
