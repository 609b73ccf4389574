/**
 * Throws, naming the first element, unless the arrays hold the same values, with NaN equal to NaN and 0 unequal to -0. In one pass:
 * a matcher's listing of what differs between arrays of 70,000 numbers takes a minute.
 */
export function expectSameBits(name: string, actual: ArrayLike<number>, expected: ArrayLike<number>): void {
  if (actual.length !== expected.length) {
    throw new Error(`${name} has ${actual.length} elements, expected ${expected.length}.`)
  }
  let [first, count] = [-1, 0]
  for (let i = 0; i < actual.length; i++) {
    if (Object.is(actual[i], expected[i])) continue
    if (count++ === 0) first = i
  }
  if (count === 0) return
  throw new Error(
    `${name}: ${count} of ${actual.length} elements differ; the first is ${name}[${first}], ` +
      `${actual[first]} instead of ${expected[first]}.`,
  )
}
