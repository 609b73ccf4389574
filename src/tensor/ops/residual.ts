import { native } from '../../native.ts'
import { recordingTape } from '../tape.ts'
import { Tensor } from '../tensor.ts'

/** x + gate ⊙ y, x and y [B, T, D], the gate being a chunk of the modulation [B, chunks, D]. */
export function gatedResidual(x: Tensor, y: Tensor, modulation: Tensor, gate: number): Tensor {
  const tape = recordingTape(x, y, modulation)
  const out = new Tensor(native().gatedResidual(x.handle, y.handle, modulation.handle, gate), x.device)
  tape?.push([out], [], (gradients) => {
    const dOut = gradients.take(out)!
    const dModulation = gradients.chunks(modulation, gate)
    const dY = native().gatedResidualBackward(
      dOut.handle,
      y.handle,
      modulation.handle,
      gate,
      dModulation.handle,
      null,
      false,
    )
    gradients.add(y, new Tensor(dY, x.device))
    gradients.add(x, dOut.alias())
  })
  return out
}

/** x + gamma ⊙ y, gamma [D] (LayerScale). */
export function layerScale(x: Tensor, y: Tensor, gamma: Tensor): Tensor {
  const tape = recordingTape(x, y, gamma)
  const out = new Tensor(native().layerScale(x.handle, y.handle, gamma.handle), x.device)
  tape?.push([out], [], (gradients) => {
    const dOut = gradients.take(out)!
    const { into, accumulate } = gradients.into(gamma)
    const dY = native().layerScaleBackward(dOut.handle, y.handle, gamma.handle, into.handle, accumulate)
    gradients.add(y, new Tensor(dY, x.device))
    gradients.add(x, dOut.alias())
  })
  return out
}
