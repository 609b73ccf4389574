import { type Activation, native } from '../../native.ts'
import { recordingTape } from '../tape.ts'
import { Tensor } from '../tensor.ts'

/** f(x), element by element. */
export function activation(x: Tensor, kind: Exclude<Activation, 'none'>): Tensor {
  const tape = recordingTape(x)
  const out = new Tensor(native().activation(x.handle, kind), x.device)
  tape?.push([out], [], (gradients) => {
    const dOut = gradients.take(out)!
    gradients.add(x, new Tensor(native().activationBackward(dOut.handle, x.handle, kind), x.device))
  })
  return out
}

/** x · sigmoid(x). */
export function silu(x: Tensor): Tensor {
  return activation(x, 'silu')
}

/** x [..., 2h] = x1 | x2 → silu(x1) ⊙ x2 [..., h]. */
export function swiGLU(x: Tensor): Tensor {
  const tape = recordingTape(x)
  const out = new Tensor(native().swiGLU(x.handle), x.device)
  tape?.push([out], [], (gradients) => {
    const dOut = gradients.take(out)!
    gradients.add(x, new Tensor(native().swiGLUBackward(dOut.handle, x.handle), x.device))
  })
  return out
}

/** a + b, of equal shapes. */
export function add(a: Tensor, b: Tensor): Tensor {
  const tape = recordingTape(a, b)
  const out = new Tensor(native().add(a.handle, b.handle), a.device)
  tape?.push([out], [], (gradients) => {
    const dOut = gradients.take(out)!
    gradients.add(a, dOut.alias())
    gradients.add(b, dOut.alias())
  })
  return out
}

/** x held within [low, high]. Not differentiable. */
export function clamp(x: Tensor, low: number, high: number): Tensor {
  return new Tensor(native().clamp(x.handle, low, high), x.device)
}

/** factor · x. Not differentiable. */
export function scale(x: Tensor, factor: number): Tensor {
  return new Tensor(native().scale(x.handle, factor), x.device)
}

/** sum += x, in place. Not differentiable. */
export function accumulate(sum: Tensor, x: Tensor): void {
  native().accumulate(sum.handle, x.handle)
}

/** The sum of the rows of x [N, C] → [C]. Not differentiable. */
export function columnSum(x: Tensor): Tensor {
  const out = Tensor.empty(x.shape.slice(-1), x.device)
  native().columnSum(x.handle, out.handle, false)
  return out
}
