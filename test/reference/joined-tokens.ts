import { type NdArray, zeros } from './array.ts'

/** [first | rest] of first [B, M, D] and rest [B, N, D]. */
export function joinTokens(first: NdArray, rest: NdArray): NdArray {
  const [batch, before, width] = first.shape
  const tokens = before + rest.shape[1]
  const out = zeros([batch, tokens, width])
  for (let i = 0; i < out.data.length; i++) {
    const [sample, token, column] = [Math.floor(i / (tokens * width)), Math.floor(i / width) % tokens, i % width]
    const [from, own] = token < before ? [first, token] : [rest, token - before]
    out.data[i] = from.data[(sample * from.shape[1] + own) * width + column]
  }
  return out
}

/** [x[:, :first], x[:, first:]] of x [B, N, D]: also the gradients of `joinTokens`, as that is this one's. */
export function splitTokens(x: NdArray, first: number): [NdArray, NdArray] {
  const [batch, tokens, width] = x.shape
  const part = (begin: number, end: number) => {
    const out = zeros([batch, end - begin, width])
    for (let row = 0; row < batch * (end - begin); row++) {
      const [sample, token] = [Math.floor(row / (end - begin)), begin + (row % (end - begin))]
      for (let i = 0; i < width; i++) out.data[row * width + i] = x.data[(sample * tokens + token) * width + i]
    }
    return out
  }
  return [part(0, first), part(first, tokens)]
}
