import { normal, uniform } from '../nn/initialiser.ts'
import { Linear } from '../nn/linear.ts'
import type { ParameterList } from '../nn/parameter-list.ts'
import { cast } from '../tensor/ops/cast.ts'
import { l2Normalize } from '../tensor/ops/contrast.ts'
import { linear, mlp } from '../tensor/ops/linear.ts'
import type { Parameter } from '../tensor/parameter.ts'
import type { Tensor } from '../tensor/tensor.ts'

export interface DinoHeadSizes {
  /** Of what comes in. */
  readonly input: number
  /** Of the two hidden layers. */
  readonly hidden: number
  readonly bottleneck: number
  readonly prototypes: number
}

/**
 * DINO's projection head (DINOHead): three linear layers with GELU between them, a bottleneck of unit length, and a weight-normed layer
 * without a bias whose gains are 1: the logits are cosines of the bottleneck with K prototypes. Names are the reference's.
 */
export class DinoHead {
  readonly #layers: readonly Linear[]
  /** [K, bottleneck]. */
  readonly prototypes: Parameter

  constructor(list: ParameterList, name: string, { input, hidden, bottleneck, prototypes }: DinoHeadSizes) {
    const init = normal(0.02)
    this.#layers = [
      new Linear(list, `${name}.mlp.0`, input, hidden, init),
      new Linear(list, `${name}.mlp.2`, hidden, hidden, init),
      new Linear(list, `${name}.mlp.4`, hidden, bottleneck, init),
    ]
    this.prototypes = list.declare(
      `${name}.last_layer.weight_v`,
      [prototypes, bottleneck],
      uniform(1 / Math.sqrt(bottleneck)),
    )
  }

  /** The prototypes at unit length, [K, bottleneck]: made once for all that a step compares with them. `frozen`: not to be trained. */
  unitPrototypes({ frozen }: { frozen: boolean }): Tensor {
    const weight = this.prototypes.value
    // What is no parameter gets no gradient.
    return cast(l2Normalize(frozen ? weight.alias() : weight), this.#layers[0]!.dtype)
  }

  /** x f32 [N, D] → cosines with the prototypes, less `centre` [K] where it is given: [N, K], f32. */
  forward(x: Tensor, prototypes: Tensor, negativeCentre?: Tensor): Tensor {
    const unit = l2Normalize(mlp(x, this.#layers, 'gelu-erf', 'f32'))
    return linear(unit, { weight: prototypes, bias: negativeCentre }, 'f32')
  }
}
