import { native } from '../native.ts'
import { fillNormal, fillUniform, type RandomKey } from '../tensor/random.ts'
import type { Tensor } from '../tensor/tensor.ts'

/** How a tensor of a state dict gets its first values. `key` is its own: no two tensors share random numbers. */
export type Initialiser = (tensor: Tensor, key: RandomKey) => void

export const zeros: Initialiser = (tensor) => native().fill(tensor.handle, 0)

export const ones: Initialiser = (tensor) => native().fill(tensor.handle, 1)

export const normal =
  (std: number): Initialiser =>
  (tensor, key) =>
    fillNormal(tensor, std, key)

/** U(±√(6 / (fanIn + fanOut))) on the weight as a matrix [shape[0], the rest] (torch.nn.init.xavier_uniform_). */
export const xavierUniform: Initialiser = (tensor, key) => {
  const fanOut = tensor.shape[0]!
  const fanIn = tensor.elements / fanOut
  const bound = Math.sqrt(6 / (fanIn + fanOut))
  fillUniform(tensor, -bound, bound, key)
}

/** U(±bound). */
export const uniform =
  (bound: number): Initialiser =>
  (tensor, key) =>
    fillUniform(tensor, -bound, bound, key)

/** How a layer of so many inputs begins, where weight and bias do alike. */
export type LayerInitialiser = (fanIn: number) => Initialiser

/** U(±1/√fanIn): what torch.nn.Linear and torch.nn.Conv2d begin with where nobody says otherwise, weight and bias alike. */
export const torchDefault: LayerInitialiser = (fanIn) => uniform(1 / Math.sqrt(fanIn))

/** Fixed values, computed when they are needed. */
export const values =
  (make: () => Float32Array): Initialiser =>
  (tensor) =>
    tensor.write(make())
