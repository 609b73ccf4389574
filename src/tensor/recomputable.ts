import type { NativeTensor } from '../native.ts'
import type { Tensor } from './tensor.ts'

/**
 * Lets these tensors be forgotten: `compute` enqueues what makes the same bits again, in their order, and does so for all of them when
 * the first is asked for. What it reads must live as long as they do.
 */
export function recomputable(tensors: readonly Tensor[], compute: () => readonly NativeTensor[]): void {
  const restore = () => {
    const handles = compute()
    for (const [i, tensor] of tensors.entries()) tensor.restore(handles[i]!)
  }
  for (const tensor of tensors) tensor.recomputeBy(restore)
}
