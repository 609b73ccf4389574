/** Cosines and sines [tokens, headDim] of the angle by which each column of a head is turned, two neighbouring columns by the same. */
export interface RotaryValues {
  readonly cos: Float32Array
  readonly sin: Float32Array
}

/**
 * Rotary positions of a grid (RoPE), as EVA-02's VisionRotaryEmbeddingFast makes them, which LightningDiT has: [rows·columns, headDim],
 * row-major over the grid. The first half of the columns is turned by the row, the second by the column, at frequencies
 * 10000^(−i/(headDim/4)), each for two neighbouring columns. In float32, as torch computes frequencies and angles.
 */
export function rotaryPositions(headDim: number, rows: number, columns: number): RotaryValues {
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

/**
 * Rotary positions of a grid as DINOv3 makes them (arXiv 2508.10104, 3.2; dinov3/layers/rope_position_encoding.py, coordinates
 * "separate"), behind `before` tokens that stand in no grid and are not turned: [before + rows·columns, 4·periods.length]. A patch is
 * turned by 2π times its centre, from -1 to 1 over the image whatever its grid, over each period: the first half of the columns by the
 * row, the second by the column. DINOv3 turns column i of a head with column i + headDim/2; these tables want such two to be neighbours,
 * 2i and 2i + 1. In float32, as torch computes the angles.
 */
export function centredRotaryPositions(
  periods: readonly number[],
  [rows, columns]: readonly [number, number],
  before: number,
): RotaryValues {
  const headDim = 4 * periods.length
  const cos = new Float32Array((before + rows * columns) * headDim).fill(1, 0, before * headDim)
  const sin = new Float32Array(cos.length)
  const turns = (index: number, count: number) => {
    const centre = Math.fround(2 * Math.fround((index + 0.5) / count) - 1)
    const turned = Math.fround(Math.fround(2 * Math.PI) * centre)
    return periods.map((period) => Math.fround(turned / Math.fround(period)))
  }
  const ofColumns = Array.from({ length: columns }, (_, column) => turns(column, columns))
  for (let row = 0; row < rows; row++) {
    const ofRow = turns(row, rows)
    for (const [column, ofColumn] of ofColumns.entries()) {
      const base = (before + row * columns + column) * headDim
      for (const [pair, angle] of [...ofRow, ...ofColumn].entries()) {
        cos.fill(Math.cos(angle), base + 2 * pair, base + 2 * pair + 2)
        sin.fill(Math.sin(angle), base + 2 * pair, base + 2 * pair + 2)
      }
    }
  }
  return { cos, sin }
}
