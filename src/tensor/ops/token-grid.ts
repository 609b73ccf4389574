import { native } from '../../native.ts'
import { recordingTape } from '../tape.ts'
import { Tensor } from '../tensor.ts'

/**
 * What a 3 x 3 convolution with a padding of 1 reads of the tokens of a grid: [B, rows·columns, D] → [B, rows·columns, 9D], elements
 * (channel, ky, kx). Its product with the weight [out, D, 3, 3] as a matrix is the convolution.
 */
export function unfoldTokens(x: Tensor, [rows, columns]: readonly [number, number]): Tensor {
  const tape = recordingTape(x)
  const out = new Tensor(native().unfoldTokens(x.handle, rows, columns), x.device)
  tape?.push([out], [], (gradients) => {
    const dX = native().unfoldTokensBackward(gradients.take(out)!.handle, rows, columns)
    gradients.add(x, new Tensor(dX, x.device))
  })
  return out
}

/**
 * (x − share · mean) / (std + epsilon) of x f32 [B, T, D], by sample and channel over its tokens; the standard deviation is the unbiased
 * one. Not differentiable.
 */
export function standardizeTokens(x: Tensor, share: number, epsilon: number): Tensor {
  return new Tensor(native().standardizeTokens(x.handle, share, epsilon), x.device)
}
