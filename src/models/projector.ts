import type { LayerInitialiser } from '../nn/initialiser.ts'
import { Linear } from '../nn/linear.ts'
import type { ParameterList } from '../nn/parameter-list.ts'
import { mlp } from '../tensor/ops/linear.ts'
import { scope } from '../tensor/scope.ts'
import type { Tensor } from '../tensor/tensor.ts'
import { ConvProjector } from './conv-projector.ts'
import type { TransformerConfig } from './transformer-config.ts'

/** What maps hidden states [B, T, D], row-major over the grid of tokens, to an encoder's features [B, T, z]. */
export interface Projector {
  forward(hidden: Tensor, grid: readonly [rows: number, columns: number]): Tensor
}

/** REPA's projector: an MLP of three layers with SiLU between them that maps hidden states, token by token, to an encoder's features. */
class MLPProjector implements Projector {
  readonly #layers: readonly Linear[]

  constructor(
    list: ParameterList,
    name: string,
    options: { hidden: number; projectorWidth: number; width: number; init?: LayerInitialiser },
  ) {
    const { hidden, projectorWidth, width, init } = options
    const layer = (place: number, input: number, output: number) =>
      new Linear(list, `${name}.${place}`, input, output, init?.(input), init?.(input))
    this.#layers = [
      layer(0, hidden, projectorWidth),
      layer(2, projectorWidth, projectorWidth),
      layer(4, projectorWidth, width),
    ]
  }

  /** hidden [B, T, D] → [B, T, z]. */
  forward(hidden: Tensor): Tensor {
    return scope(() => mlp(hidden, this.#layers, 'silu'))
  }
}

/** A projector for every encoder of a configuration, as it wants them; `init` is of an MLP's layers, by default Xavier's. */
export function declareProjectors(
  list: ParameterList,
  { alignWidths, projector, projectorWidth, hidden }: TransformerConfig,
  init?: LayerInitialiser,
): readonly Projector[] {
  return alignWidths.map((width, index) => {
    const name = `projectors.${index}`
    return projector === 'conv'
      ? new ConvProjector(list, name, { hidden, width })
      : new MLPProjector(list, name, { hidden, projectorWidth, width, ...(init && { init }) })
  })
}
