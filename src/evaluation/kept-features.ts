import { Tensor } from '../tensor/tensor.ts'
import type { FeatureMatrix } from './precision-recall.ts'

/**
 * Features of at most `capacity` of `total` images, evenly spread over them: every k-th where they do not all fit, so that images that
 * are sorted by class stay mixed. They lie in one tensor, which precision and recall read in place.
 */
export class KeptFeatures implements FeatureMatrix, Disposable {
  readonly tensor: Tensor
  readonly width: number
  readonly #capacity: number
  readonly #total: number
  #seen = 0
  #kept = 0

  constructor(width: number, total: number, capacity: number) {
    this.width = width
    this.#total = total
    this.#capacity = Math.min(total, capacity)
    this.tensor = Tensor.empty([this.#capacity, width], 'cpu')
  }

  /** How many are there now. */
  get count(): number {
    return this.#kept
  }

  /** @param features [n, width], of the next n images. */
  add(features: Float32Array): void {
    const { width } = this
    const rows = features.length / width
    if (this.#capacity === this.#total) {
      this.#write(features)
      this.#seen += rows
      return
    }
    for (let row = 0; row < rows; row++, this.#seen++) {
      const share = (index: number) => Math.floor((index * this.#capacity) / this.#total)
      if (share(this.#seen + 1) > share(this.#seen)) this.#write(features.subarray(row * width, (row + 1) * width))
    }
  }

  #write(features: Float32Array): void {
    const rows = features.length / this.width
    using place = this.tensor.slice(this.#kept, this.#kept + rows)
    place.write(features)
    this.#kept += rows
  }

  [Symbol.dispose](): void {
    this.tensor.dispose()
  }
}
