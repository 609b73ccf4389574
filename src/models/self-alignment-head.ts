import { Linear } from '../nn/linear.ts'
import type { ParameterList } from '../nn/parameter-list.ts'
import { mlp } from '../tensor/ops/linear.ts'
import { scope } from '../tensor/scope.ts'
import type { Tensor } from '../tensor/tensor.ts'

/** SRA's head (arXiv 2505.02831): maps the student's hidden states to those of the teacher, which has none. */
export class SelfAlignmentHead {
  readonly #layers: readonly Linear[]

  constructor(list: ParameterList, name: string, { hidden }: { hidden: number }) {
    this.#layers = [
      new Linear(list, `${name}.linear1`, hidden, 2 * hidden),
      new Linear(list, `${name}.linear2`, 2 * hidden, hidden),
    ]
  }

  /** hidden [B, T, D] → [B, T, D]. */
  forward(hidden: Tensor): Tensor {
    return scope(() => mlp(hidden, this.#layers, 'silu'))
  }
}
