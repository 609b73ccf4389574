import { linearCombination } from '../../tensor/ops/float64.ts'
import type { Tensor } from '../../tensor/tensor.ts'
import type { LinearField } from './transport.ts'

/** What a model says of a state (f32) at a time: [B, C, H, W]. */
export type Predict = (x: Tensor, t: number) => Tensor

/** state + step · field, f64. */
export function advanced(state: Tensor, prediction: Tensor, field: LinearField, step: number): Tensor {
  return linearCombination([
    [1 + step * field.ofState, state],
    [step * field.ofPrediction, prediction],
  ])
}

/** The field itself, f64. */
export function fieldValue(state: Tensor, prediction: Tensor, { ofState, ofPrediction }: LinearField): Tensor {
  return linearCombination([
    [ofState, state],
    [ofPrediction, prediction],
  ])
}

/** Evenly spaced times, both ends among them (linspace); two at least. */
export function evenTimes([from, to]: readonly [number, number], count: number): number[] {
  return Array.from({ length: count }, (_, i) => (i === count - 1 ? to : from + ((to - from) * i) / (count - 1)))
}
