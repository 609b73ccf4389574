import { native } from '../../native.ts'
import { recordingTape } from '../tape.ts'
import { Tensor } from '../tensor.ts'

/** t [B] → [B, dim]: cosines first, then sines, at frequencies maxPeriod^(−i/half). Not differentiable in t. */
export function timestepEmbedding(t: Tensor, dim: number, maxPeriod = 10_000): Tensor {
  return new Tensor(native().timestepEmbedding(t.handle, dim, maxPeriod), t.device)
}

/** t [B] → [B, 2F]: sines first, then cosines, of 2π t at the frequencies [F] per unit of time. Not differentiable. */
export function fourierFeatures(t: Tensor, frequencies: Tensor): Tensor {
  return new Tensor(native().fourierFeatures(t.handle, frequencies.handle), t.device)
}

/** table [rows, D] at ids i32 [N] → [N, D]. */
export function embedding(table: Tensor, ids: Tensor): Tensor {
  const tape = recordingTape(table)
  const out = new Tensor(native().embedding(table.handle, ids.handle), table.device)
  tape?.push([out], [], (gradients) => {
    const dOut = gradients.take(out)!
    const { into, accumulate } = gradients.into(table)
    native().embeddingBackward(dOut.handle, ids.handle, into.handle, accumulate)
  })
  return out
}
