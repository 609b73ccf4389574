import { type NdArray, zeros } from './array.ts'
import { gatherTokens } from './gather-tokens.ts'

/** base [B, N, D] with the tokens ids [B, M] of each sample replaced by those of x [B, M, D]; null: zeros. */
export function mergeTokens(
  base: NdArray | null,
  x: NdArray | null,
  ids: ArrayLike<number>,
  shape: readonly number[],
): NdArray {
  const [batch, tokens, width] = shape
  const taken = ids.length / batch
  const out = zeros(shape)
  if (base) out.data.set(base.data)
  for (let row = 0; row < ids.length; row++) {
    const to = (Math.floor(row / taken) * tokens + ids[row]) * width
    for (let i = 0; i < width; i++) out.data[to + i] = x ? x.data[row * width + i] : 0
  }
  return out
}

/** Gradients of `mergeTokens` with regard to base and x. */
export function mergeTokensBackward(dOut: NdArray, ids: ArrayLike<number>): { dBase: NdArray; dX: NdArray } {
  return { dBase: mergeTokens(dOut, null, ids, dOut.shape), dX: gatherTokens(dOut, ids) }
}

/** Where each of `tokens` tokens stands among the ids [B, M] of its sample, −1 where it does not: [B, tokens]. */
export function placesOf(ids: Int32Array, batch: number, tokens: number): Int32Array {
  const taken = ids.length / batch
  const places = new Int32Array(batch * tokens).fill(-1)
  for (const [row, id] of ids.entries()) places[Math.floor(row / taken) * tokens + id] = row % taken
  return places
}
