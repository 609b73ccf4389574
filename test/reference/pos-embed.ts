import { type NdArray, zeros } from './array.ts'

/**
 * The fixed 2-D sin-cos table of a grid x grid map in row-major order, [grid^2, dim]. The first half of the channels
 * encodes the column, the second the row; each half is sin(p omega_i) for all i and then cos(p omega_i), with
 * omega_i = 10000^(-i / (dim / 4)) and integer positions p.
 */
export function sinCosPosEmbed(dim: number, grid: number): NdArray {
  const quarter = dim / 4
  const out = zeros([grid * grid, dim])
  for (let row = 0; row < grid; row++) {
    for (let column = 0; column < grid; column++) {
      for (const [half, position] of [column, row].entries()) {
        for (let i = 0; i < quarter; i++) {
          const angle = position * 10_000 ** (-i / quarter)
          const start = (row * grid + column) * dim + half * 2 * quarter
          out.data[start + i] = Math.sin(angle)
          out.data[start + quarter + i] = Math.cos(angle)
        }
      }
    }
  }
  return out
}
