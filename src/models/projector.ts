import { Linear } from '../nn/linear.ts'
import type { ParameterList } from '../nn/parameter-list.ts'
import { mlp } from '../tensor/ops/linear.ts'
import { scope } from '../tensor/scope.ts'
import type { Tensor } from '../tensor/tensor.ts'

/** What maps hidden states [B, T, D], row-major over the grid of tokens, to an encoder's features [B, T, z]. */
export interface Projector {
  forward(hidden: Tensor, grid: readonly [rows: number, columns: number]): Tensor
}

/** REPA's projector: an MLP of three layers with SiLU between them that maps hidden states, token by token, to an encoder's features. */
export class MLPProjector implements Projector {
  readonly #layers: readonly Linear[]

  constructor(
    list: ParameterList,
    name: string,
    { hidden, projectorWidth, width }: { hidden: number; projectorWidth: number; width: number },
  ) {
    this.#layers = [
      new Linear(list, `${name}.0`, hidden, projectorWidth),
      new Linear(list, `${name}.2`, projectorWidth, projectorWidth),
      new Linear(list, `${name}.4`, projectorWidth, width),
    ]
  }

  /** hidden [B, T, D] → [B, T, z]. */
  forward(hidden: Tensor): Tensor {
    return scope(() => mlp(hidden, this.#layers, 'silu'))
  }
}
