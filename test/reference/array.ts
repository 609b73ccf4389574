/** A float64 array, row-major: what every reference takes and gives. */
export interface NdArray {
  readonly shape: readonly number[]
  readonly data: Float64Array
}

/** An absolute and a relative tolerance, as `|actual - expected| <= atol + rtol * |expected|`. */
export interface Tolerance {
  readonly atol: number
  readonly rtol: number
}

/** The element that is furthest from what was expected, measured in tolerances. */
export interface Comparison {
  readonly close: boolean
  readonly maxAbsoluteError: number
  /** Index per axis of the worst element. */
  readonly index: readonly number[]
  readonly actual: number
  readonly expected: number
}

export function sizeOf(shape: readonly number[]): number {
  return shape.reduce((count, size) => count * size, 1)
}

export function zeros(shape: readonly number[]): NdArray {
  return { shape, data: new Float64Array(sizeOf(shape)) }
}

export function fromValues(shape: readonly number[], values: ArrayLike<number>): NdArray {
  if (values.length !== sizeOf(shape)) throw new RangeError(`${values.length} values do not fill [${shape}].`)
  return { shape, data: Float64Array.from(values) }
}

/** The same elements in another shape; shares the data. */
export function reshape(a: NdArray, shape: readonly number[]): NdArray {
  if (a.data.length !== sizeOf(shape)) throw new RangeError(`[${a.shape}] cannot be seen as [${shape}].`)
  return { shape, data: a.data }
}

/**
 * Values in [-scale, scale) that depend on (seed, element) alone, so every machine and backend draws the same. They are
 * rounded to float32, so a float32 kernel starts from exactly the inputs of its reference.
 */
export function random(shape: readonly number[], seed: number, scale = 1): NdArray {
  const out = zeros(shape)
  for (let i = 0; i < out.data.length; i++) {
    const unit = (hash(i, seed) >>> 8) / 2 ** 23 - 1
    out.data[i] = Math.fround(unit * scale)
  }
  return out
}

/**
 * Rounds to nearest even to what a dtype holds: its significant bits, and its exponents down to the smallest normal number, below
 * which the spacing stays.
 */
export function roundTo(dtype: 'f32' | 'bf16' | 'f16', value: number): number {
  if (value === 0 || !Number.isFinite(value)) return value
  const { bits, smallest } = {
    f32: { bits: 24, smallest: -126 },
    bf16: { bits: 8, smallest: -126 },
    f16: { bits: 11, smallest: -14 },
  }[dtype]
  const exponent = Math.max(Math.floor(Math.log2(Math.abs(value))), smallest)
  const spacing = 2 ** (exponent - bits + 1)
  const steps = value / spacing
  const below = Math.floor(steps)
  const excess = steps - below
  return (excess > 0.5 || (excess === 0.5 && below % 2 !== 0) ? below + 1 : below) * spacing
}

/** Integers in [0, below), for labels. */
export function randomIntegers(count: number, below: number, seed: number): number[] {
  return Array.from({ length: count }, (_, i) => hash(i, seed) % below)
}

// A 32-bit mix (the finaliser of MurmurHash3) of the element's number and the seed.
function hash(element: number, seed: number): number {
  let h = (Math.imul(element, 0x9e3779b1) + Math.imul(seed + 1, 0x85ebca77)) >>> 0
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b)
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35)
  return (h ^ (h >>> 16)) >>> 0
}

export function map(a: NdArray, f: (value: number, index: number) => number): NdArray {
  return { shape: a.shape, data: a.data.map(f) }
}

export function sum(a: NdArray, b: NdArray): NdArray {
  sameShape(a, b)
  return map(a, (value, i) => value + b.data[i])
}

export function scaled(a: NdArray, factor: number): NdArray {
  return map(a, (value) => value * factor)
}

/** Finds the worst element of `actual`. A NaN on either side is a difference. */
export function compare(actual: NdArray, expected: NdArray, tolerance: Tolerance): Comparison {
  sameShape(actual, expected)
  let worst = 0
  let worstExcess = Number.NEGATIVE_INFINITY
  let maxAbsoluteError = 0
  for (let i = 0; i < actual.data.length; i++) {
    const error = Math.abs(actual.data[i] - expected.data[i])
    const excess = error - (tolerance.atol + tolerance.rtol * Math.abs(expected.data[i]))
    if (error > maxAbsoluteError) maxAbsoluteError = error
    if (Number.isNaN(excess)) {
      worst = i
      worstExcess = maxAbsoluteError = Number.POSITIVE_INFINITY
      break
    }
    if (excess > worstExcess) {
      worst = i
      worstExcess = excess
    }
  }
  return {
    close: worstExcess <= 0 || actual.data.length === 0,
    maxAbsoluteError,
    index: indexOf(worst, actual.shape),
    actual: actual.data[worst],
    expected: expected.data[worst],
  }
}

/** Throws, naming the worst element, unless every element of `actual` is within the tolerance. */
export function expectClose(name: string, actual: NdArray, expected: NdArray, tolerance: Tolerance): void {
  const { close, index, actual: value, expected: wanted, maxAbsoluteError } = compare(actual, expected, tolerance)
  if (close) return
  throw new Error(
    `${name}[${index}] is ${value}, expected ${wanted} within ${tolerance.atol} + ${tolerance.rtol}|expected|; ` +
      `the largest absolute error of [${actual.shape}] is ${maxAbsoluteError}.`,
  )
}

function indexOf(element: number, shape: readonly number[]): number[] {
  const index: number[] = []
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    index.unshift(element % shape[axis])
    element = Math.floor(element / shape[axis])
  }
  return index
}

function sameShape(a: NdArray, b: NdArray): void {
  if (a.shape.length !== b.shape.length || a.shape.some((size, axis) => size !== b.shape[axis])) {
    throw new RangeError(`Shapes [${a.shape}] and [${b.shape}] differ.`)
  }
}
