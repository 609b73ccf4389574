/** Batches made of others, by copies on their device. Not differentiable. */
import { native } from '../../native.ts'
import { scope } from '../scope.ts'
import { Tensor } from '../tensor.ts'

/** torch.cat of two of one device and dtype: [A, ...] and [B, ...] → [A + B, ...]. */
export function joinBatches(first: Tensor, second: Tensor): Tensor {
  return scope(() => {
    const [count] = first.shape as [number]
    const all = Tensor.empty([count + second.shape[0]!, ...first.shape.slice(1)], first.device, first.dtype)
    native().copy(all.slice(0, count).handle, first.handle)
    native().copy(all.slice(count, all.shape[0]!).handle, second.handle)
    return all
  })
}

/** One sample, as many times: [1, ...] → [times, ...]. */
export function repeatBatch(one: Tensor, times: number): Tensor {
  return scope(() => {
    const all = Tensor.empty([times, ...one.shape.slice(1)], one.device, one.dtype)
    for (let i = 0; i < times; i++) native().copy(all.slice(i, i + 1).handle, one.handle)
    return all
  })
}
