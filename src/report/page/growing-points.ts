import { firstAtLeast, type Points } from '../curve.ts'

/** Points in the order of x, to which a run in progress appends. */
export class GrowingPoints {
  #x: Float64Array
  #y: Float64Array
  #count: number

  constructor({ x, y }: Points) {
    this.#x = x
    this.#y = y
    this.#count = x.length
  }

  /** A view that holds until the next change. */
  get points(): Points {
    return { x: this.#x.subarray(0, this.#count), y: this.#y.subarray(0, this.#count) }
  }

  /** Drops the points from `from` on and appends those given: what a resumed run does to its log. Null is no value. */
  replaceFrom(from: number, x: readonly number[], y: readonly (number | null)[]): void {
    this.#count = firstAtLeast(this.points.x, from)
    this.#reserve(this.#count + x.length)
    for (const [i, value] of y.entries()) {
      if (value === null) continue
      this.#x[this.#count] = x[i]!
      this.#y[this.#count] = value
      this.#count++
    }
  }

  #reserve(count: number): void {
    if (count <= this.#x.length) return
    const size = Math.max(count, 2 * this.#x.length)
    const [x, y] = [new Float64Array(size), new Float64Array(size)]
    x.set(this.points.x)
    y.set(this.points.y)
    this.#x = x
    this.#y = y
  }
}
