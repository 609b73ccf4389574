/** A step of training on velocities, as the tables of models take it. */
import type { SiT } from '../../src/models/sit.ts'
import { velocityLoss } from '../../src/tensor/ops/loss.ts'
import type { Recomputation } from '../../src/tensor/recomputation.ts'
import { scope } from '../../src/tensor/scope.ts'
import { Tape } from '../../src/tensor/tape.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { fromValues, type NdArray } from '../reference/array.ts'

export interface VelocityBatch {
  /** [B, C, H, W], as the target. */
  readonly x: NdArray
  readonly t: NdArray
  readonly labels: readonly number[]
  readonly target: NdArray
}

export const uploaded = ({ shape, data }: NdArray, device: SiT['device']): Tensor =>
  Tensor.from(Float32Array.from(data), shape, device)

/** The prediction, and the gradients in the arena. */
export async function velocityStep(
  model: SiT,
  { x, t, labels, target }: VelocityBatch,
  recompute: Recomputation,
): Promise<NdArray> {
  const { device } = model
  model.arena.allocateGradients()
  using prediction = scope(() => {
    const [input, times, wanted] = [x, t, target].map((array) => uploaded(array, device)) as [Tensor, Tensor, Tensor]
    const ids = Tensor.from(Int32Array.from(labels), [labels.length], device)
    using tape = new Tape({ recompute })
    const out = tape.record(() => {
      const { prediction } = model.forward(input, times, ids)
      velocityLoss(prediction, wanted)
      return prediction
    })
    tape.backward(model.arena.parameters).dispose()
    return out
  })
  return fromValues(prediction.shape, await prediction.data())
}

/** What a step leaves, for comparison of bits: the prediction and all gradients. */
export async function stepBits(model: SiT, batch: VelocityBatch, recompute: Recomputation): Promise<unknown> {
  const { data } = await velocityStep(model, batch, recompute)
  return [data, await model.arena.array('gradients').data()]
}
