import type { ComputeDType } from '../tensor/dtype.ts'
import type { LinearWeights } from '../tensor/ops/linear.ts'
import type { Parameter } from '../tensor/parameter.ts'
import { computeDType, type Tensor } from '../tensor/tensor.ts'
import { type Initialiser, torchDefault, xavierUniform, zeros } from './initialiser.ts'
import type { ParameterList } from './parameter-list.ts'

/** torch.nn.Linear: weight [out, in] and bias [out] under `NAME.weight` and `NAME.bias`. Passed to the ops of ops/linear.ts. */
export class Linear implements LinearWeights {
  readonly #weight: Parameter
  readonly #bias: Parameter

  constructor(
    list: ParameterList,
    name: string,
    input: number,
    output: number,
    init: Initialiser = xavierUniform,
    biasInit: Initialiser = zeros,
  ) {
    this.#weight = list.declare(`${name}.weight`, [output, input], init)
    this.#bias = list.declare(`${name}.bias`, [output], biasInit)
  }

  get weight(): Tensor {
    return this.#weight.compute
  }

  /** In what the layer computes. */
  get dtype(): ComputeDType {
    return computeDType(this.weight)
  }

  get bias(): Tensor {
    return this.#bias.value
  }
}

/** A layer with PyTorch's own first values. */
export function torchLinear(list: ParameterList, name: string, input: number, output: number): Linear {
  return new Linear(list, name, input, output, torchDefault(input), torchDefault(input))
}
