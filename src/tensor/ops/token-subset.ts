import { native } from '../../native.ts'
import { recordingTape } from '../tape.ts'
import { Tensor } from '../tensor.ts'
import { gatherTokens } from './tokens.ts'

/** Some of each sample's tokens, each once. */
export interface TokenSubset {
  /** Their numbers i32 [B, M], ascending. */
  readonly ids: Tensor
  /** Of all tokens, i32 [B, N]: where one stands in `ids`, −1 where it does not. */
  readonly places: Tensor
}

/** The subset's tokens of x [B, N, D], f32: [B, M, D]. */
export function takeSubset(x: Tensor, { ids, places }: TokenSubset): Tensor {
  const tape = recordingTape(x)
  const out = new Tensor(native().gatherTokens(x.handle, ids.handle, null), x.device)
  tape?.push([out], [], (gradients) => {
    const dOut = gradients.take(out)!
    gradients.add(x, new Tensor(native().mergeTokens(null, dOut.handle, places.handle), x.device))
  })
  return out
}

/** base [B, N, D] with x [B, M, D] in the place of the subset's tokens, both f32: [B, N, D]. */
export function mergeSubset(base: Tensor, x: Tensor, subset: TokenSubset): Tensor {
  const { places } = subset
  const tape = recordingTape(base, x)
  const out = new Tensor(native().mergeTokens(base.handle, x.handle, places.handle), x.device)
  tape?.push([out], [], (gradients) => {
    const dOut = gradients.take(out)!
    if (gradients.wants(x)) gradients.add(x, gatherTokens(dOut, subset.ids))
    if (!gradients.wants(base)) return
    gradients.add(base, new Tensor(native().mergeTokens(dOut.handle, null, places.handle), base.device))
  })
  return out
}
