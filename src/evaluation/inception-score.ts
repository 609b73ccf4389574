/** Images of a split, in the ADM suite. */
const INCEPTION_SCORE_SPLIT = 5000

/**
 * The Inception Score (Salimans et al., arXiv 1606.03498) as the ADM suite computes it: the images in their order in splits, the last
 * of which may be smaller; of each exp of the mean over its images of KL(p(y|x) ‖ mean p); and of these the mean. Sums are float64
 * and no probabilities are kept.
 */
export class InceptionScore {
  readonly classes: number
  readonly #split: number
  readonly #scores: number[] = []
  #count = 0
  /** Σ p and Σ p ln p of the split at hand. */
  #sums: Float64Array
  #negativeEntropy = 0

  constructor(classes: number, split = INCEPTION_SCORE_SPLIT) {
    this.classes = classes
    this.#split = split
    this.#sums = new Float64Array(classes)
  }

  /** @param probabilities [n, classes], row by row. */
  add(probabilities: ArrayLike<number>): void {
    const { classes } = this
    for (let row = 0; row < probabilities.length; row += classes) {
      for (let k = 0; k < classes; k++) {
        const p = probabilities[row + k]!
        this.#sums[k]! += p
        // NaN too: the score is then none.
        if (p !== 0) this.#negativeEntropy += p * Math.log(p)
      }
      this.#count++
      if (this.#count === this.#split) this.#endSplit()
    }
  }

  /** As `add`, for logits [n, classes]: their softmax, in float64. */
  addLogits(logits: Float32Array): void {
    const { classes } = this
    const probabilities = new Float64Array(logits.length)
    for (let row = 0; row < logits.length; row += classes) {
      let largest = Number.NEGATIVE_INFINITY
      for (let k = 0; k < classes; k++) largest = Math.max(largest, logits[row + k]!)
      let sum = 0
      for (let k = 0; k < classes; k++) {
        const value = Math.exp(logits[row + k]! - largest)
        probabilities[row + k] = value
        sum += value
      }
      for (let k = 0; k < classes; k++) probabilities[row + k]! /= sum
    }
    this.add(probabilities)
  }

  /** The score; NaN without images. */
  finish(): number {
    if (this.#count > 0) this.#endSplit()
    return this.#scores.reduce((sum, score) => sum + score, 0) / this.#scores.length
  }

  /** mean KL = (Σ p ln p) / n − Σ q ln q, q being the mean of the split's p. */
  #endSplit(): void {
    let divergence = this.#negativeEntropy / this.#count
    for (const sum of this.#sums) {
      const q = sum / this.#count
      if (q !== 0) divergence -= q * Math.log(q)
    }
    this.#scores.push(Math.exp(divergence))
    this.#count = 0
    this.#negativeEntropy = 0
    this.#sums = new Float64Array(this.classes)
  }
}
