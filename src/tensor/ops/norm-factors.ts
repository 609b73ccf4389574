import { native } from '../../native.ts'
import { recordingTape } from '../tape.ts'
import { Tensor } from '../tensor.ts'

/**
 * The weights [N, D] of RMSNorms, multiplied into a modulation [B, 3N − 1, D] or [B, 3N, D] in which every norm is followed by a shift, a
 * scale and a gate, which the last may lack: the scale of norm n, chunk 3n + 1, becomes the whole factor weights[n] ⊙ (1 + scale). One pass
 * for all norms of a step: those that normalise read the factor where they would read a scale (`normModulate` with rmsNorm).
 */
export function normFactors(modulation: Tensor, weights: Tensor): Tensor {
  const tape = recordingTape(modulation, weights)
  const out = new Tensor(native().normFactors(modulation.handle, weights.handle), modulation.device)
  tape?.push([out], [], (gradients) => {
    const dModulation = gradients.takeToWrite(out)!
    const { into, accumulate } = gradients.into(weights)
    native().normFactorsBackward(dModulation.handle, modulation.handle, weights.handle, into.handle, accumulate)
    gradients.add(modulation, dModulation)
  })
  return out
}
