import { accumulateCovariance } from '../tensor/ops/statistics.ts'
import { Tensor } from '../tensor/tensor.ts'

/** A Gaussian fitted to features: what a Fréchet distance compares. */
export interface Gaussian {
  /** How many features it was fitted to; undefined where a file does not say. */
  readonly count: number | undefined
  /** [D] */
  readonly mean: Float64Array
  /** [D, D], row-major, unbiased: over N − 1, as np.cov. */
  readonly covariance: Float64Array
}

const ROWS_AT_ONCE = 512

/**
 * Mean and covariance of features that come batch by batch, in float64 and in memory that depends on their width alone. What is
 * summed is the features less the mean of the first of them, so that nothing cancels where the mean is large against the spread.
 */
export class FeatureStatistics implements Disposable {
  readonly width: number
  #count = 0
  /** Rows that wait for a sum of their own: a product of few rows would be all memory traffic. */
  readonly #pending: Float32Array
  #filled = 0
  #shift: Float64Array | undefined
  #sums: { shift: Tensor; sum: Tensor; products: Tensor } | undefined

  constructor(width: number) {
    this.width = width
    this.#pending = new Float32Array(ROWS_AT_ONCE * width)
  }

  get count(): number {
    return this.#count
  }

  /** @param features [n, width], row by row. */
  add(features: Float32Array): void {
    const { width } = this
    if (features.length % width !== 0) {
      throw new RangeError(`FeatureStatistics: ${features.length} numbers are no rows of ${width} features.`)
    }
    for (let at = 0; at < features.length; ) {
      const count = Math.min(features.length - at, this.#pending.length - this.#filled)
      this.#pending.set(features.subarray(at, at + count), this.#filled)
      at += count
      this.#filled += count
      if (this.#filled === this.#pending.length) this.#flush()
    }
    this.#count += features.length / width
  }

  /** @throws RangeError for fewer than two features, which have no covariance. */
  async finish(): Promise<Gaussian> {
    this.#flush()
    const { width } = this
    const count = this.#count
    if (count < 2 || !this.#sums || !this.#shift) {
      throw new RangeError(`A covariance needs at least two images; there ${count === 1 ? 'is 1' : `are ${count}`}.`)
    }
    const [sum, products] = await Promise.all([this.#sums.sum.dataAs('f64'), this.#sums.products.dataAs('f64')])
    for (let i = 0; i < width; i++) {
      for (let j = 0; j <= i; j++) {
        const value = (products[i * width + j]! - (sum[i]! * sum[j]!) / count) / (count - 1)
        products[i * width + j] = value
        products[j * width + i] = value
      }
    }
    const mean = this.#shift.map((shift, i) => shift + sum[i]! / count)
    return { count, mean, covariance: products }
  }

  [Symbol.dispose](): void {
    for (const tensor of Object.values(this.#sums ?? {})) tensor.dispose()
    this.#sums = undefined
  }

  #flush(): void {
    const rows = this.#filled / this.width
    if (rows === 0) return
    const features = this.#pending.subarray(0, this.#filled)
    this.#sums ??= this.#start(features, rows)
    using x = Tensor.from(features, [rows, this.width], 'cpu')
    accumulateCovariance(x, this.#sums)
    this.#filled = 0
  }

  #start(features: Float32Array, rows: number) {
    const { width } = this
    const shift = new Float64Array(width)
    for (let n = 0; n < rows; n++) {
      for (let d = 0; d < width; d++) shift[d]! += features[n * width + d]!
    }
    for (let d = 0; d < width; d++) shift[d]! /= rows
    this.#shift = shift
    return {
      shift: Tensor.from(shift, [width], 'cpu'),
      sum: Tensor.from(new Float64Array(width), [width], 'cpu'),
      products: Tensor.from(new Float64Array(width * width), [width, width], 'cpu'),
    }
  }
}
