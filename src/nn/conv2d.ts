import type { Conv2dWeights } from '../tensor/ops/conv2d.ts'
import type { Parameter } from '../tensor/parameter.ts'
import type { Tensor } from '../tensor/tensor.ts'
import { type Initialiser, xavierUniform, zeros } from './initialiser.ts'
import type { ParameterList } from './parameter-list.ts'

/**
 * torch.nn.Conv2d's weight and bias under `NAME.weight` and `NAME.bias`, for the ops of ops/conv2d.ts. Files hold the weight as
 * [O, C, kh, kw]; the kernels read [O, kh, kw, C], into which models/convolutional-model.ts brings it.
 */
export class Conv2d implements Conv2dWeights {
  readonly inputs: number
  readonly outputs: number
  readonly #weight: Parameter
  readonly #bias: Parameter | undefined

  constructor(
    list: ParameterList,
    name: string,
    options: {
      inputs: number
      outputs: number
      kernel: number | readonly [rows: number, columns: number]
      bias?: boolean
      init?: Initialiser
    },
  ) {
    const { inputs, outputs, kernel, bias = true, init = xavierUniform } = options
    const [rows, columns] = typeof kernel === 'number' ? [kernel, kernel] : kernel
    this.inputs = inputs
    this.outputs = outputs
    this.#weight = list.declare(`${name}.weight`, [outputs, rows, columns, inputs], init, {
      fileShape: [outputs, inputs, rows, columns],
    })
    this.#bias = bias ? list.declare(`${name}.bias`, [outputs], zeros) : undefined
  }

  get weight(): Tensor {
    return this.#weight.compute
  }

  get bias(): Tensor | undefined {
    return this.#bias?.value
  }
}
