import type { Device } from '../tensor/device.ts'
import type { RotaryTables } from '../tensor/ops/rope.ts'
import { keep } from '../tensor/scope.ts'
import { Tensor } from '../tensor/tensor.ts'
import type { Grid } from './position-table.ts'
import { centredRotaryPositions } from './rotary-positions.ts'

/** Rotary positions for images of any grid, behind `before` tokens that are not turned. A grid's tables are kept until `clear()`. */
export class RotaryGrids {
  readonly #periods: readonly number[]
  readonly #before: number
  readonly #tables = new Map<string, RotaryTables>()

  constructor(periods: readonly number[], before: number) {
    this.#periods = periods
    this.#before = before
  }

  /** [before + rows·columns, head_dim], row-major. */
  tables(grid: Grid, device: Device): RotaryTables {
    const key = `${grid.join(' x ')}, ${device}`
    let tables = this.#tables.get(key)
    if (!tables) {
      const { cos, sin } = centredRotaryPositions(this.#periods, grid, this.#before)
      const shape = [this.#before + grid[0] * grid[1], 4 * this.#periods.length]
      tables = { cos: keep(Tensor.from(cos, shape, device)), sin: keep(Tensor.from(sin, shape, device)) }
      this.#tables.set(key, tables)
    }
    return tables
  }

  /** Frees the tables: when the model goes. */
  clear(): void {
    for (const { cos, sin } of this.#tables.values()) {
      cos.dispose()
      sin.dispose()
    }
    this.#tables.clear()
  }
}
