import { torchDefault } from '../nn/initialiser.ts'
import type { ParameterList } from '../nn/parameter-list.ts'
import { cast } from '../tensor/ops/cast.ts'
import { linear } from '../tensor/ops/linear.ts'
import { unfoldTokens } from '../tensor/ops/token-grid.ts'
import type { Parameter } from '../tensor/parameter.ts'
import { scope } from '../tensor/scope.ts'
import { computeDType, type Tensor } from '../tensor/tensor.ts'
import type { Projector } from './projector.ts'

/** Cells that a convolution of 3 x 3 reads. */
export const CONVOLUTION_CELLS = 9

/**
 * iREPA's projector (arXiv 2512.10794): one 3 x 3 convolution with a padding of 1 on the grid of tokens. First values are
 * torch.nn.Conv2d's.
 */
export class ConvProjector implements Projector {
  readonly #weight: Parameter
  readonly #bias: Parameter

  constructor(list: ParameterList, name: string, { hidden, width }: { hidden: number; width: number }) {
    const first = torchDefault(CONVOLUTION_CELLS * hidden)
    this.#weight = list.declare(`${name}.projection_layer.weight`, [width, hidden * CONVOLUTION_CELLS], first, {
      fileShape: [width, hidden, 3, 3],
    })
    this.#bias = list.declare(`${name}.projection_layer.bias`, [width], first)
  }

  /** hidden [B, T, D], row-major over the grid → [B, T, z]. */
  forward(hidden: Tensor, grid: readonly [rows: number, columns: number]): Tensor {
    return scope(() => {
      const weight = this.#weight.compute
      const cells = unfoldTokens(cast(hidden, computeDType(weight)), grid)
      return linear(cells, { weight, bias: this.#bias.value })
    })
  }
}
