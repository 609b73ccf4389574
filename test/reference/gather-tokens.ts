import { type NdArray, zeros } from './array.ts'

/** x [B, N, D] at ids [B, M] of each sample's own tokens -> [B, M, D]; -1 is `fill` [D]. */
export function gatherTokens(x: NdArray, ids: ArrayLike<number>, fill?: NdArray): NdArray {
  const [batch, tokens, width] = x.shape
  const taken = ids.length / batch
  const out = zeros([batch, taken, width])
  for (let row = 0; row < ids.length; row++) {
    const sample = Math.floor(row / taken)
    for (let i = 0; i < width; i++) {
      const id = ids[row]
      out.data[row * width + i] = id < 0 ? fill!.data[i] : x.data[(sample * tokens + id) * width + i]
    }
  }
  return out
}

/** Gradients of `gatherTokens` with regard to x and to the fill: a token that is taken twice adds up. */
export function gatherTokensBackward(
  dOut: NdArray,
  ids: ArrayLike<number>,
  tokens: number,
): { dx: NdArray; dFill: NdArray } {
  const [batch, taken, width] = dOut.shape
  const dx = zeros([batch, tokens, width])
  const dFill = zeros([width])
  for (let row = 0; row < ids.length; row++) {
    const sample = Math.floor(row / taken)
    for (let i = 0; i < width; i++) {
      const id = ids[row]
      if (id < 0) dFill.data[i] += dOut.data[row * width + i]
      else dx.data[(sample * tokens + id) * width + i] += dOut.data[row * width + i]
    }
  }
  return { dx, dFill }
}
