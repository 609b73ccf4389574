import { elementCount } from '../tensor/dtype.ts'
import { elementAt, type HostTensor, toFloat32 } from '../tensor/host-tensor.ts'
import type { TensorRole, Tolerance } from './manifest.ts'

/** How far a computed tensor is from the stored one. Error, tolerance, values and index are those of the worst element. */
export interface Comparison {
  readonly tensor: string
  readonly role: TensorRole
  readonly elements: number
  /** |a − b|; NaN where either is. */
  readonly error: number
  /** atol + rtol·|b|, and an allowance where the runner has given one. */
  readonly tolerance: number
  /** error / tolerance: at most 1 passes. Infinity (null in JSON) where nothing could be compared, or one is not finite. */
  readonly ratio: number
  readonly worstIndex: readonly number[]
  readonly actual: number
  readonly expected: number
  /** Mean of |a − b| over all elements. */
  readonly meanError: number
  readonly passed: boolean
  /** Why it could not be compared, or failed by more than its worst element. */
  readonly problem?: string
}

export interface ComparisonRules {
  /** The dtypes must be the same, not only of the same sort (floats, integers, booleans). */
  readonly sameDtype?: boolean
  /** The mean of |a − b| must be below this. */
  readonly meanBelow?: number
  /** Added to the tolerance, element by element. */
  readonly allowance?: Float64Array
}

type Numbers = ArrayLike<number>

/** Compares element by element; a NaN never passes, and shapes must be the same to the letter. */
export function compareTensors(
  { name: tensor, role }: { readonly name: string; readonly role: TensorRole },
  actual: HostTensor,
  expected: HostTensor,
  tolerance: Tolerance | undefined,
  { sameDtype = false, meanBelow, allowance }: ComparisonRules = {},
): Comparison {
  const elements = elementCount(expected.shape)
  const limits = tolerance ?? (sortOf(expected) === 'float' ? undefined : { atol: 0, rtol: 0 })
  const mismatch = dtypeOrShapeMismatch(actual, expected, sameDtype)
  if (mismatch !== undefined || limits === undefined) {
    const problem = mismatch ?? `the manifest states no tolerance for this ${expected.dtype} tensor`
    return {
      tensor,
      role,
      elements,
      error: Number.NaN,
      tolerance: Number.NaN,
      ratio: Number.POSITIVE_INFINITY,
      worstIndex: [],
      actual: Number.NaN,
      expected: Number.NaN,
      meanError: Number.NaN,
      passed: false,
      problem,
    }
  }
  const [a, b] = numbersOf(actual, expected)
  const { atol, rtol } = limits
  let worst = 0
  let worstRatio = -1
  let sum = 0
  for (let i = 0; i < elements; i++) {
    const from = a[i]!
    const to = b[i]!
    // Equal infinities are equal; their difference is not a number.
    if (from === to) {
      if (worstRatio < 0) {
        worstRatio = 0
        worst = i
      }
      continue
    }
    const error = Math.abs(from - to)
    sum += error
    const limit = atol + rtol * Math.abs(to) + (allowance?.[i] ?? 0)
    let ratio = error / limit
    if (!(ratio >= 0)) ratio = Number.POSITIVE_INFINITY
    if (ratio > worstRatio) {
      worstRatio = ratio
      worst = i
    }
  }
  const meanError = elements === 0 ? 0 : sum / elements
  const ratio = Math.max(0, worstRatio)
  // What is not finite fails by itself, and its place says more than the mean.
  const tooFarOnAverage = meanBelow !== undefined && meanError >= meanBelow && Number.isFinite(ratio)
  return {
    tensor,
    role,
    elements,
    error: elements === 0 || a[worst] === b[worst] ? 0 : Math.abs(a[worst]! - b[worst]!),
    tolerance: atol + (elements === 0 ? 0 : rtol * Math.abs(b[worst]!) + (allowance?.[worst] ?? 0)),
    ratio,
    worstIndex: elements === 0 ? [] : indexOf(worst, expected.shape),
    actual: elements === 0 ? 0 : a[worst]!,
    expected: elements === 0 ? 0 : b[worst]!,
    meanError,
    passed: ratio <= 1 && !tooFarOnAverage,
    ...(tooFarOnAverage && { problem: `the mean difference is ${meanError}; it must be below ${meanBelow}` }),
  }
}

function dtypeOrShapeMismatch(actual: HostTensor, expected: HostTensor, sameDtype: boolean): string | undefined {
  if (String(actual.shape) !== String(expected.shape) || actual.shape.length !== expected.shape.length) {
    return `its shape is [${actual.shape}], expected [${expected.shape}]`
  }
  if (sameDtype ? actual.dtype !== expected.dtype : sortOf(actual) !== sortOf(expected)) {
    return `its dtype is ${actual.dtype}, expected ${expected.dtype}`
  }
  return undefined
}

function sortOf({ dtype }: HostTensor): 'float' | 'integer' | 'boolean' {
  if (dtype === 'bool') return 'boolean'
  return dtype === 'f64' || dtype === 'f32' || dtype === 'bf16' || dtype === 'f16' ? 'float' : 'integer'
}

/** Both tensors' values as numbers. */
function numbersOf(actual: HostTensor, expected: HostTensor): [Numbers, Numbers] {
  const isLong = actual.dtype === 'i64' && expected.dtype === 'i64'
  return isLong ? longNumbers(actual, expected) : [valuesOf(actual), valuesOf(expected)]
}

function valuesOf(tensor: HostTensor): Numbers {
  if (tensor.dtype === 'u8' || tensor.dtype === 'bool') return tensor.data
  if (tensor.dtype !== 'f64' && tensor.dtype !== 'i64' && tensor.dtype !== 'i32') return toFloat32(tensor)
  return Float64Array.from({ length: elementCount(tensor.shape) }, (_, i) => elementAt(tensor, i))
}

function longNumbers(actual: HostTensor, expected: HostTensor): [Numbers, Numbers] {
  const [a, b] = [longsOf(actual), longsOf(expected)]
  const to = Float64Array.from(b, Number)
  const from = to.map((value, i) => (a[i] === b[i] ? value : distinct(Number(a[i]), value)))
  return [from, to]
}

/** `value`, moved off `other` where rounding has made the two the same. */
const distinct = (value: number, other: number) => (value === other ? Number.NaN : value)

function longsOf({ data }: HostTensor): BigInt64Array {
  const aligned = data.byteOffset % 8 === 0 ? data : data.slice()
  return new BigInt64Array(aligned.buffer, aligned.byteOffset, aligned.byteLength / 8)
}

function indexOf(flat: number, shape: readonly number[]): number[] {
  const index = shape.map(() => 0)
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    index[axis] = flat % shape[axis]!
    flat = Math.floor(flat / shape[axis]!)
  }
  return index
}
