import { type NdArray, zeros } from './array.ts'

type Grid = readonly [rows: number, columns: number]

/** Calls body(place in the unfolded tokens, place in the tokens) for every element that is not outside of the grid. */
function forEachCell(
  [batch, tokens, width]: readonly [number, number, number],
  [rows, columns]: Grid,
  body: (out: number, x: number) => void,
): void {
  for (let b = 0; b < batch; b++) {
    for (let t = 0; t < tokens; t++) {
      for (let ky = 0; ky < 3; ky++) {
        for (let kx = 0; kx < 3; kx++) {
          const row = Math.floor(t / columns) + ky - 1
          const column = (t % columns) + kx - 1
          if (row < 0 || row >= rows || column < 0 || column >= columns) continue
          for (let d = 0; d < width; d++) {
            body(((b * tokens + t) * width + d) * 9 + 3 * ky + kx, (b * tokens + row * columns + column) * width + d)
          }
        }
      }
    }
  }
}

export function unfoldTokens(x: NdArray, grid: Grid): NdArray {
  const shape = x.shape as [number, number, number]
  const out = zeros([shape[0], shape[1], 9 * shape[2]])
  forEachCell(shape, grid, (to, from) => {
    out.data[to] = x.data[from]!
  })
  return out
}

export function unfoldTokensBackward(dOut: NdArray, grid: Grid): NdArray {
  const [batch, tokens, width] = dOut.shape as [number, number, number]
  const d = zeros([batch, tokens, width / 9])
  forEachCell([batch, tokens, width / 9], grid, (to, from) => {
    d.data[from]! += dOut.data[to]!
  })
  return d
}

/** (x − share mean) / (std + epsilon) over the tokens of x [B, T, D], std unbiased. */
export function standardizeTokens(x: NdArray, share: number, epsilon: number): NdArray {
  const [batch, tokens, width] = x.shape as [number, number, number]
  const out = zeros(x.shape)
  for (let b = 0; b < batch; b++) {
    for (let d = 0; d < width; d++) {
      const at = (t: number) => (b * tokens + t) * width + d
      const values = Array.from({ length: tokens }, (_, t) => x.data[at(t)]!)
      const mean = values.reduce((sum, value) => sum + value, 0) / tokens
      const std = Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (tokens - 1))
      values.forEach((value, t) => {
        out.data[at(t)] = (value - share * mean) / (std + epsilon)
      })
    }
  }
  return out
}
