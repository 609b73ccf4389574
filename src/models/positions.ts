/** By how much elements of a table, which are from -1 to 1, may differ from those of the same sizes: a file may hold them in bf16. */
export const TABLE_ROUNDING = 2 ** -8

/**
 * The fixed 2-D sine-cosine table [height·width, hidden] of MAE, DiT and SiT (`pos_embed`), row-major over the grid. The first
 * half of the features encodes the column, the second the row; each is all sines, then all cosines, at frequencies
 * 10000^(−i/(hidden/4)). Coordinates are grid indices. Computed in float64, stored as float32.
 */
export function sinCosPositions(hidden: number, height: number, width: number): Float32Array {
  if (hidden % 4 !== 0) throw new RangeError(`sinCosPositions: the width ${hidden} is not a multiple of 4.`)
  const quarter = hidden / 4
  const table = new Float32Array(height * width * hidden)
  for (let row = 0; row < height; row++) {
    for (let column = 0; column < width; column++) {
      const base = (row * width + column) * hidden
      for (let i = 0; i < quarter; i++) {
        const frequency = 1 / 10000 ** (i / quarter)
        table[base + i] = Math.sin(column * frequency)
        table[base + quarter + i] = Math.cos(column * frequency)
        table[base + 2 * quarter + i] = Math.sin(row * frequency)
        table[base + 3 * quarter + i] = Math.cos(row * frequency)
      }
    }
  }
  return table
}
