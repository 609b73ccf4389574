import { recordingTape } from '../tape.ts'
import type { Tensor } from '../tensor.ts'

/** The same elements under another shape, as part of a differentiated pass. Shares memory. */
export function reshape(x: Tensor, shape: readonly number[]): Tensor {
  const tape = recordingTape(x)
  const out = x.reshape(shape)
  tape?.push([out], [], (gradients) => {
    gradients.add(x, gradients.take(out)!.reshape(x.shape))
  })
  return out
}
