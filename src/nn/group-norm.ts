import { type GroupNormWeights, groupNormCoefficients } from '../tensor/ops/group-norm.ts'
import type { Parameter } from '../tensor/parameter.ts'
import type { Tensor } from '../tensor/tensor.ts'
import { ones, zeros } from './initialiser.ts'
import type { ParameterList } from './parameter-list.ts'

/** torch.nn.GroupNorm: weight and bias [C] under `NAME.weight` and `NAME.bias`. */
export class GroupNorm implements GroupNormWeights {
  readonly groups: number
  readonly epsilon: number
  readonly #weight: Parameter
  readonly #bias: Parameter

  constructor(list: ParameterList, name: string, options: { channels: number; groups: number; epsilon: number }) {
    this.groups = options.groups
    this.epsilon = options.epsilon
    this.#weight = list.declare(`${name}.weight`, [options.channels], ones)
    this.#bias = list.declare(`${name}.bias`, [options.channels], zeros)
  }

  get weight(): Tensor {
    return this.#weight.value
  }

  get bias(): Tensor {
    return this.#bias.value
  }

  /** [N, 2, C] of x [N, ..., C]. */
  coefficients(x: Tensor): Tensor {
    return groupNormCoefficients(x, this)
  }
}
