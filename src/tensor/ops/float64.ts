import { native } from '../../native.ts'
import { release } from '../scope.ts'
import { Tensor } from '../tensor.ts'

type Term = readonly [coefficient: number, tensor: Tensor]

/** Of native/cpu/linear_combination.h, kMaxLinearCombinationTerms: what the kernel sums in one pass. */
const TERMS_AT_ONCE = 6

/** Σ coefficient · tensor in float64, in the order of the terms, of which each is f32 or f64: the arithmetic of the samplers. */
export function linearCombination(terms: readonly Term[]): Tensor {
  let sum = sumOf(terms.slice(0, TERMS_AT_ONCE))
  for (let i = TERMS_AT_ONCE; i < terms.length; i += TERMS_AT_ONCE - 1) {
    const before = sum
    sum = sumOf([[1, before], ...terms.slice(i, i + TERMS_AT_ONCE - 1)])
    release(before)
  }
  return sum
}

function sumOf(terms: readonly Term[]): Tensor {
  const handle = native().linearCombination(
    terms.map(([coefficient]) => coefficient),
    terms.map(([, tensor]) => tensor.handle),
  )
  return new Tensor(handle, terms[0]![1].device)
}
