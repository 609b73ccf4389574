import { native } from '../../native.ts'
import { scope } from '../scope.ts'
import { recordingTape } from '../tape.ts'
import { type DeviceDType, Tensor } from '../tensor.ts'

/** x under another dtype, narrowing rounded to nearest even; x itself where it has that dtype already. */
export function cast(x: Tensor, dtype: DeviceDType): Tensor {
  if (x.dtype === dtype) return x
  // The kernels have f32 on one side, which holds every number of either.
  if (isHalf(x.dtype) && isHalf(dtype)) return scope(() => cast(cast(x, 'f32'), dtype))
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

const isHalf = (dtype: DeviceDType) => dtype === 'bf16' || dtype === 'f16'
