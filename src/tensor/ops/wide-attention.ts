import { native } from '../../native.ts'
import { scope } from '../scope.ts'
import { computeDType, Tensor } from '../tensor.ts'
import { linear } from './linear.ts'

/** Scores of one block of queries: 4 Mi floats are 16 MiB, however many tokens there are. */
const MOST_SCORES = 4 << 20
const FEWEST_QUERIES = 16

/**
 * softmax(q kᵀ / √D) v of one head of any width: q, k and v [T, D] of one sample → [T, D]. Attention as products over blocks of
 * queries, for heads that the fused kernels do not take; the scores of all tokens never stand in memory at once. Not
 * differentiable.
 */
export function wideAttention(q: Tensor, k: Tensor, v: Tensor): Tensor {
  const [tokens, width] = q.shape
  const dtype = computeDType(v)
  const rows = Math.max(FEWEST_QUERIES, Math.floor(MOST_SCORES / tokens!))
  const out = Tensor.empty([tokens!, width!], q.device, dtype)
  for (let first = 0; first < tokens!; first += rows) {
    const count = Math.min(rows, tokens! - first)
    scope(() => {
      const scores = linear(q.slice(first, first + count), { weight: k, bias: undefined }, 'f32')
      const shares = new Tensor(native().softmax(scores.handle, 1 / Math.sqrt(width!), dtype), q.device)
      scores.dispose()
      // Σ over tokens of share · v: the product that a linear layer's input gradient is.
      const mixed = native().linearInputGradient(shares.handle, v.handle, null, 'none', null, false)
      native().copy(out.slice(first, first + count).handle, new Tensor(mixed, q.device).handle)
    })
  }
  return out
}
