import { prependTokens } from '../tensor/ops/tokens.ts'
import { keep } from '../tensor/scope.ts'
import { Tensor } from '../tensor/tensor.ts'

type Grid = readonly [rows: number, columns: number]

/**
 * What an encoder gives for the average image, f32 [rows · columns, D], and is taken off its features: most of what a transformer of few
 * steps says of a patch is where it is, the same for every image, and a cosine with that is large whatever the image shows.
 */
export class AverageFeatures implements Disposable {
  readonly #grid: Grid
  /** Negated: what is added. */
  readonly #values: Float32Array
  readonly #width: number
  /** By grid. */
  readonly #tables = new Map<string, Tensor>()

  /** `values` [rows · columns, width], of the grid of the images that the encoder was trained on. */
  constructor(values: Float32Array, grid: Grid) {
    this.#grid = grid
    this.#values = values.map((value) => -value)
    this.#width = values.length / (grid[0] * grid[1])
  }

  /**
   * Features f32 [B, rows · columns, D] without the average. Of another grid's, the mean over all places is taken off. A class token before
   * them stays as it is.
   */
  takenOff(features: Tensor, grid: Grid, { classToken = false }: { classToken?: boolean } = {}): Tensor {
    const before = classToken ? 1 : 0
    const key = `${features.device} ${before} + ${grid.join(' x ')}`
    let table = this.#tables.get(key)
    if (!table) {
      const isOwn = grid[0] === this.#grid[0] && grid[1] === this.#grid[1]
      const rows = isOwn ? this.#values : this.#meanOfPlaces(grid[0] * grid[1])
      const all = new Float32Array(before * this.#width + rows.length)
      all.set(rows, before * this.#width)
      table = keep(Tensor.from(all, [before + grid[0] * grid[1], this.#width], features.device))
      this.#tables.set(key, table)
    }
    return prependTokens(features, { positions: table })
  }

  #meanOfPlaces(count: number): Float32Array {
    const width = this.#width
    const places = this.#values.length / width
    const sums = new Float64Array(width)
    for (const [i, value] of this.#values.entries()) sums[i % width]! += value / places
    return Float32Array.from({ length: count * width }, (_, i) => sums[i % width]!)
  }

  [Symbol.dispose](): void {
    for (const table of this.#tables.values()) table.dispose()
    this.#tables.clear()
  }
}
