import { native } from '../../native.ts'
import { Tensor } from '../tensor.ts'

/** Σ coefficient · tensor in float64, one to six terms, f32 or f64: the arithmetic of the samplers. */
export function linearCombination(terms: readonly (readonly [coefficient: number, tensor: Tensor])[]): Tensor {
  const handle = native().linearCombination(
    terms.map(([coefficient]) => coefficient),
    terms.map(([, tensor]) => tensor.handle),
  )
  return new Tensor(handle, terms[0]![1].device)
}
