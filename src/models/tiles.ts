/** Where a tile lies in what it is a part of. */
export interface TilePlace {
  readonly top: number
  readonly left: number
  readonly rows: number
  readonly columns: number
}

/** A tile's numbers, [channels, rows, columns]. */
export interface Tile {
  readonly place: TilePlace
  readonly values: Float32Array
}

/** The part of a tile that its next neighbour covers too. */
const OVERLAP = 0.25

/** Tiles of at most `side` × `side` that cover h × w, the last of a row and a column moved back so that all are equally large. */
export function tilePlaces(h: number, w: number, side: number): TilePlace[] {
  const rows = Math.min(side, h)
  const columns = Math.min(side, w)
  return starts(h, rows).flatMap((top) => starts(w, columns).map((left) => ({ top, left, rows, columns })))
}

function starts(length: number, side: number): number[] {
  if (length <= side) return [0]
  const step = Math.max(1, Math.floor(side * (1 - OVERLAP)))
  const count = Math.ceil((length - side) / step) + 1
  return Array.from({ length: count }, (_, i) => Math.min(i * step, length - side))
}

/**
 * One array [channels, h, w] of its tiles. Where several overlap, each counts the more the further its own nearest edge is, which
 * leads from one into the next without a seam; the edges of the whole do not count as edges.
 */
export function blendTiles(tiles: readonly Tile[], channels: number, h: number, w: number): Float32Array<ArrayBuffer> {
  const sum = new Float32Array(channels * h * w)
  const weights = new Float32Array(h * w)
  for (const { place, values } of tiles) {
    const { top, left, rows, columns } = place
    const across = ramp(left, columns, w)
    const down = ramp(top, rows, h)
    for (let y = 0; y < rows; y++) {
      for (let x = 0; x < columns; x++) {
        const weight = down[y]! * across[x]!
        const at = (top + y) * w + left + x
        weights[at]! += weight
        for (let c = 0; c < channels; c++) {
          sum[c * h * w + at]! += weight * values[(c * rows + y) * columns + x]!
        }
      }
    }
  }
  for (let i = 0; i < sum.length; i++) sum[i]! /= weights[i % (h * w)]!
  return sum
}

/** How much each position of a tile counts along one axis: rising from its edges over the overlap, 1 at the whole's edges. */
function ramp(first: number, side: number, length: number): Float64Array {
  const width = side * OVERLAP
  return Float64Array.from({ length: side }, (_, i) => {
    const before = first === 0 ? 1 : Math.min(1, (i + 0.5) / width)
    const behind = first + side === length ? 1 : Math.min(1, (side - i - 0.5) / width)
    return before * behind
  })
}
