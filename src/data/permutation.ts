/** Rounds of the Feistel network; four make a strong permutation of a good round function, the rest is margin. */
const ROUNDS = 8

/**
 * A pseudorandom permutation of 0 … length − 1 that depends on (seed, epoch) alone and is evaluated position by position,
 * without a table: a Feistel network over the smallest power of two that holds `length`, walked along its cycle until
 * it lands inside (Black and Rogaway, "Ciphers with Arbitrary Finite Domains", 2002). On average less than two walks.
 */
export class KeyedPermutation {
  readonly length: number
  readonly #lowBits: number
  readonly #lowMask: number
  readonly #highMask: number
  readonly #keys = new Uint32Array(ROUNDS)

  /**
   * @param length 1 … 2^30
   * @param seed any safe non-negative integer
   * @param epoch any safe non-negative integer
   */
  constructor(length: number, seed: number, epoch: number) {
    if (!Number.isInteger(length) || length < 1 || length > 2 ** 30) {
      throw new RangeError(`A permutation of ${length} elements; 1 to 2^30 are possible.`)
    }
    for (const [name, value] of Object.entries({ seed, epoch })) {
      if (!Number.isSafeInteger(value) || value < 0) {
        throw new RangeError(`The ${name} ${value} of a permutation is not a non-negative integer below 2^53.`)
      }
    }
    this.length = length
    const bits = length === 1 ? 0 : 32 - Math.clz32(length - 1)
    this.#lowBits = bits >> 1
    this.#lowMask = 2 ** this.#lowBits - 1
    this.#highMask = 2 ** (bits - this.#lowBits) - 1
    let state = 0
    for (const part of [seed, Math.floor(seed / 2 ** 32), epoch, Math.floor(epoch / 2 ** 32)]) {
      state = mix((state ^ part) + 0x9e3779b9)
    }
    for (let round = 0; round < ROUNDS; round++) {
      state = mix(state + 0x9e3779b9)
      this.#keys[round] = state
    }
  }

  /** The element at a position. */
  at(position: number): number {
    if (!(Number.isInteger(position) && position >= 0 && position < this.length)) {
      throw new RangeError(`Position ${position} of a permutation of ${this.length} elements.`)
    }
    let x = position
    do x = this.#permute(x)
    while (x >= this.length)
    return x
  }

  /** One pass of the network: the halves, of equal width or one bit apart, take turns in masking each other. */
  #permute(x: number): number {
    const keys = this.#keys
    let low = x & this.#lowMask
    let high = x >>> this.#lowBits
    for (let round = 0; round < ROUNDS; round += 2) {
      low ^= mix(high + keys[round]!) & this.#lowMask
      high ^= mix(low + keys[round + 1]!) & this.#highMask
    }
    return (high << this.#lowBits) | low
  }
}

/** A bijective hash of 32 bits (the constants are of C. Wellons' "lowbias32", found by search for the least bias). */
function mix(x: number): number {
  x ^= x >>> 16
  x = Math.imul(x, 0x7feb352d)
  x ^= x >>> 15
  x = Math.imul(x, 0x846ca68b)
  x ^= x >>> 16
  return x >>> 0
}
