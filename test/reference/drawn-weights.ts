import { map, type NdArray, random } from './array.ts'

/** Random weights of a transformer under names, in the order in which they are asked for: each of the next seed. */
export class DrawnWeights {
  readonly weights = new Map<string, NdArray>()
  readonly #firstSeed: number
  readonly #bias: number

  /** `bias`: of how much a dense layer's biases are at most. */
  constructor(firstSeed: number, bias = 0.02) {
    this.#firstSeed = firstSeed
    this.#bias = bias
  }

  add(name: string, shape: readonly number[], scale: number, offset = 0): void {
    const values = random(shape, this.#firstSeed + this.weights.size, scale)
    this.weights.set(
      name,
      map(values, (value) => Math.fround(value + offset)),
    )
  }

  norm(name: string, width: number): void {
    this.add(`${name}.weight`, [width], 0.3, 1)
    this.add(`${name}.bias`, [width], 0.1)
  }

  dense(name: string, output: number, input: number, scale = 1.5): void {
    this.add(`${name}.weight`, [output, input], scale / Math.sqrt(input))
    this.add(`${name}.bias`, [output], this.#bias)
  }
}
