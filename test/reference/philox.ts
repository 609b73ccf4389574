// Philox-4x32-10 of Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC 2011).

export type Words4 = readonly [number, number, number, number]
export type Words2 = readonly [number, number]

const MULTIPLIERS: Words2 = [0xd2511f53, 0xcd9e8d57]
// The golden ratio and sqrt(3) - 1, as 32-bit fractions.
const WEYL: Words2 = [0x9e3779b9, 0xbb67ae85]

/** Four random 32-bit words for a counter and a key, all unsigned. */
export function philox(counter: Words4, key: Words2): Words4 {
  let [c0, c1, c2, c3] = counter
  let [k0, k1] = key
  for (let round = 0; round < 10; round++) {
    const product0 = BigInt(MULTIPLIERS[0]) * BigInt(c0)
    const product1 = BigInt(MULTIPLIERS[1]) * BigInt(c2)
    ;[c0, c1, c2, c3] = [
      (high(product1) ^ c1 ^ k0) >>> 0,
      low(product1),
      (high(product0) ^ c3 ^ k1) >>> 0,
      low(product0),
    ]
    k0 = (k0 + WEYL[0]) >>> 0
    k1 = (k1 + WEYL[1]) >>> 0
  }
  return [c0, c1, c2, c3]
}

/** A word's upper 24 bits as a number in [0, 1): exact in float32. */
export function uniform(word: number): number {
  return (word >>> 8) / 2 ** 24
}

/**
 * Box-Muller: two words give two standard normals. The radius' uniform is taken in (0, 1], so its logarithm is finite
 * and the largest normal is sqrt(48 ln 2) = 5.77.
 */
export function normalPair(word0: number, word1: number): [number, number] {
  const radius = Math.sqrt(-2 * Math.log(uniform(word0) + 2 ** -24))
  const angle = 2 * Math.PI * uniform(word1)
  return [radius * Math.cos(angle), radius * Math.sin(angle)]
}

function high(product: bigint): number {
  return Number(product >> 32n)
}

function low(product: bigint): number {
  return Number(product & 0xffffffffn)
}
