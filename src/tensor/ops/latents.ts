import { native } from '../../native.ts'
import { Tensor } from '../tensor.ts'

/** An encoder's mean and logarithm of the variance [N, 2C, h, w] → mean and standard deviation, as data sets store them. Not differentiable. */
export function posteriorMoments(parameters: Tensor): Tensor {
  return new Tensor(native().posteriorMoments(parameters.handle), parameters.device)
}

/** (x − mean) / std: x [N, ...], mean and std of the leading axes of a sample. Not differentiable. */
export function standardize(x: Tensor, mean: Tensor, std: Tensor): Tensor {
  return new Tensor(native().standardize(x.handle, mean.handle, std.handle), x.device)
}
