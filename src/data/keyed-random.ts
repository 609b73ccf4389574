/** A stream of random numbers. */
export interface KeyedRandom {
  /** Even over [from, to). */
  uniform(from?: number, to?: number): number
  /** Normal with mean 0 and variance 1; its last bits are those of the machine's logarithm and cosine. */
  normal(): number
}

/**
 * The stream that belongs to the given integer keys: the same keys give the same numbers, even ones on every machine, and in any
 * order of calls between streams. Each stream is xoshiro128** (Blackman and Vigna, 2018), its state hashed from the keys.
 */
export function keyedRandom(...keys: readonly number[]): KeyedRandom {
  let hash = 0x9e3779b9
  for (const key of keys) {
    // Both halves of keys above 2^32.
    hash = avalanche(hash ^ (key >>> 0))
    hash = avalanche(hash ^ (Math.floor(key / 2 ** 32) >>> 0) ^ 0x85ebca6b)
  }
  const state = new Uint32Array(4)
  for (let i = 0; i < 4; i++) {
    hash = (hash + 0x9e3779b9) | 0
    state[i] = avalanche(hash)
  }

  const next = (): number => {
    const [s0, s1, s2, s3] = state as unknown as [number, number, number, number]
    const product = Math.imul(s1, 5)
    const result = Math.imul((product << 7) | (product >>> 25), 9) >>> 0
    const t2 = s2 ^ s0
    const t3 = s3 ^ s1
    state[1] = s1 ^ t2
    state[0] = s0 ^ t3
    state[2] = t2 ^ (s1 << 9)
    state[3] = (t3 << 11) | (t3 >>> 21)
    return result
  }

  const uniform = (from = 0, to = 1) => from + (to - from) * (next() / 2 ** 32)
  return {
    uniform,
    // Box and Muller's transform; 1 − u is never 0.
    normal: () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform()),
  }
}

/** MurmurHash3's 32-bit finaliser: every bit of the input moves every bit of the result. */
function avalanche(value: number): number {
  let hash = value
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b)
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
  return hash ^ (hash >>> 16)
}
