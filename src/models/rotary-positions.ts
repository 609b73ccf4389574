/**
 * Rotary positions of a grid (RoPE), as EVA-02's VisionRotaryEmbeddingFast makes them, which LightningDiT has: cosines and sines
 * [rows·columns, headDim] of the angle by which each column of a head is turned, row-major over the grid. The first half of the columns is
 * turned by the row, the second by the column, at frequencies 10000^(−i/(headDim/4)), each for two neighbouring columns. In float32, as
 * torch computes frequencies and angles.
 */
export function rotaryPositions(
  headDim: number,
  rows: number,
  columns: number,
): { readonly cos: Float32Array; readonly sin: Float32Array } {
  if (headDim % 4 !== 0) throw new RangeError(`rotaryPositions: the head_dim ${headDim} is not a multiple of 4.`)
  const half = headDim / 2
  const frequencies = Array.from({ length: half / 2 }, (_, i) =>
    Math.fround(1 / Math.fround(10000 ** Math.fround((2 * i) / half))),
  )
  const cos = new Float32Array(rows * columns * headDim)
  const sin = new Float32Array(cos.length)
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const base = (row * columns + column) * headDim
      for (let i = 0; i < headDim; i++) {
        const position = i < half ? row : column
        const angle = Math.fround(position * frequencies[(i % half) >> 1]!)
        cos[base + i] = Math.cos(angle)
        sin[base + i] = Math.sin(angle)
      }
    }
  }
  return { cos, sin }
}
