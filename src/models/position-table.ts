import { resizeGrid } from '../tensor/ops/pixels.ts'
import type { Parameter } from '../tensor/parameter.ts'
import { keep, scope } from '../tensor/scope.ts'
import type { Tensor } from '../tensor/tensor.ts'
import type { PositionInterpolation } from './vit-config.ts'

/** Rows and columns of patches. */
export type Grid = readonly [rows: number, columns: number]

/**
 * A position table [side², D] for images of any grid, or [1 + side², D] with the class token's entry first. A table that was
 * resampled is kept until `clear()`.
 */
export class PositionTable {
  readonly #parameter: Parameter
  readonly #side: number
  readonly #width: number
  /** Where the patches' entries begin. */
  readonly #first: number
  readonly #resampled = new Map<string, Tensor>()

  constructor(parameter: Parameter, { classToken = true }: { classToken?: boolean } = {}) {
    const [entries, width] = parameter.shape
    this.#parameter = parameter
    this.#first = classToken ? width! : 0
    this.#side = Math.sqrt(entries! - (classToken ? 1 : 0))
    this.#width = width!
    if (!Number.isInteger(this.#side)) {
      throw new RangeError(
        `${parameter.name} has ${entries} entries, which is not ${classToken ? 'one more than ' : ''}a square.`,
      )
    }
  }

  /** The class token's entry, [D], of a table that has one; it is not resampled. */
  classEntry(): Tensor {
    if (this.#first === 0) throw new RangeError(`${this.#parameter.name} has no entry for a class token.`)
    return this.#parameter.value.view(0, [this.#width])
  }

  /** The entries of the patches of a grid, [rows·columns, D], row-major. As learnt where the grid is the table's own. */
  patchEntries([rows, columns]: Grid, { antialias, offset }: PositionInterpolation): Tensor {
    const side = this.#side
    const table = this.#parameter.value
    if (rows === side && columns === side) return table.view(this.#first, [side * side, this.#width])
    const key = `${rows} x ${columns}, ${antialias}, ${offset}`
    let entries = this.#resampled.get(key)
    if (!entries) {
      entries = keep(
        scope(() => {
          const learnt = table.view(this.#first, [1, side, side, this.#width])
          const resampled = resizeGrid(learnt, rows, columns, {
            filter: 'bicubic',
            antialias,
            ...(offset > 0 ? { scale: [side / (rows + offset), side / (columns + offset)] as const } : {}),
          })
          return resampled.reshape([rows * columns, this.#width])
        }),
      )
      this.#resampled.set(key, entries)
    }
    return entries
  }

  /** Frees the resampled tables: when the model goes, or its table has other values. */
  clear(): void {
    for (const entries of this.#resampled.values()) entries.dispose()
    this.#resampled.clear()
  }
}
