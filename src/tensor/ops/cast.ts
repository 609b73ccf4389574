import { native } from '../../native.ts'
import { recordingTape } from '../tape.ts'
import { type DeviceDType, Tensor } from '../tensor.ts'

/** x under another dtype, narrowing rounded to nearest even; x itself where it has that dtype already. */
export function cast(x: Tensor, dtype: DeviceDType): Tensor {
  if (x.dtype === dtype) return x
  const tape = recordingTape(x)
  const out = new Tensor(native().cast(x.handle, dtype), x.device)
  tape?.push([out], [], (gradients) => {
    const dOut = gradients.take(out)!
    // That of a product's weight is f32 already.
    const dX = dOut.dtype === x.dtype ? dOut.alias() : new Tensor(native().cast(dOut.handle, x.dtype), x.device)
    gradients.add(x, dX)
  })
  return out
}
