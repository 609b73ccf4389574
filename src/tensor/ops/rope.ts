import { native } from '../../native.ts'
import { recordingTape } from '../tape.ts'
import type { Tensor } from '../tensor.ts'

/** By which queries and keys of each token are turned: cosines and sines [T, head_dim], f32. They have no gradient. */
export interface RotaryTables {
  readonly cos: Tensor
  readonly sin: Tensor
}

/**
 * Rotary positions (RoPE): queries and keys x of a packed qkv [B, T, 3·H·d] become x ⊙ cos + rotateHalf(x) ⊙ sin, in pairs of neighbouring
 * columns of a head, rotateHalf(x) having −x[2i+1] at 2i and x[2i] at 2i+1; values are as they were. In place: nothing may read qkv as it
 * was any more, the backward pass of what made it included.
 */
export function rotate(qkv: Tensor, { cos, sin }: RotaryTables, heads: number): Tensor {
  const tape = recordingTape(qkv)
  native().rotate(qkv.handle, cos.handle, sin.handle, heads, false)
  const out = qkv.alias()
  tape?.push([out], [], (gradients) => {
    const dQkv = gradients.takeToWrite(out)!
    native().rotate(dQkv.handle, cos.handle, sin.handle, heads, true)
    gradients.add(qkv, dQkv)
  })
  return out
}
