import { synchronize } from '../tensor/device.ts'
import { cast } from '../tensor/ops/cast.ts'
import { scope } from '../tensor/scope.ts'
import type { Tensor } from '../tensor/tensor.ts'

export interface StepThroughOptions {
  /** Called after each step. */
  readonly onStep?: (step: number, steps: number) => void
  /** Shown the state (f64) after each step, counted from 0. */
  readonly observe?: (state: Tensor, step: number) => void
  readonly signal?: AbortSignal
}

/**
 * What every sampler does: from a start (f32 or f64), state after state in float64, `step` making the next one out of the last. Returns
 * the last, which the caller disposes. Throws the signal's reason when aborted.
 */
export async function stepThrough(
  start: Tensor,
  steps: number,
  step: (state: Tensor, index: number) => Tensor,
  options: StepThroughOptions,
): Promise<Tensor> {
  const [last] = await stepAllThrough([start], steps, ([state], index) => [step(state!, index)], options)
  return last!
}

/** `stepThrough` with states of several tensors, of which the first is what is observed. */
export async function stepAllThrough(
  starts: readonly Tensor[],
  steps: number,
  step: (state: readonly Tensor[], index: number) => readonly Tensor[],
  { onStep, observe, signal }: StepThroughOptions,
): Promise<readonly Tensor[]> {
  let state: readonly Tensor[] = starts.map((start) => {
    const first = cast(start, 'f64')
    return first === start ? start.alias() : first
  })
  const disposeState = () => {
    for (const tensor of state) tensor.dispose()
  }
  try {
    for (let i = 0; i < steps; i++) {
      signal?.throwIfAborted()
      const next = scope(() => step(state, i))
      disposeState()
      state = next
      observe?.(state[0]!, i)
      // Keeps the host from running ahead, and the event loop free.
      await synchronize(starts[0]!.device)
      onStep?.(i + 1, steps)
    }
    return state
  } catch (error) {
    disposeState()
    throw error
  }
}
