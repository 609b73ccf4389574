/**
 * `count` evenly spaced numbers with both ends among them, to the bit what torch.linspace gives in float64 on a CPU with fused
 * multiply-add: the nearer end plus a whole number of steps, rounded once. A time on the edge of a guidance interval (t = 0.1 of 50 steps)
 * is then inside or outside as it is in the reference.
 */
export function linspace(from: number, to: number, count: number): number[] {
  if (count === 1) return [from]
  const step = (to - from) / (count - 1)
  const half = Math.floor(count / 2)
  return Array.from({ length: count }, (_, i) =>
    i < half ? multiplyAdd(step, i, from) : multiplyAdd(-step, count - 1 - i, to),
  )
}

/** factor · whole + summand as one operation with one rounding, for whole numbers below 2^24. */
function multiplyAdd(factor: number, whole: number, summand: number): number {
  // Both products are exact: neither half of the factor has more than 29 bits.
  const upper = Math.fround(factor)
  const product = upper * whole
  const rest = (factor - upper) * whole
  const sum = summand + product
  // What the sum lost (Knuth's two-sum), exact.
  const added = sum - summand
  const lost = summand - (sum - added) + (product - added)
  return sum + (lost + rest)
}
