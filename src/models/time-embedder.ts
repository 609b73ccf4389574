import { type LayerInitialiser, normal, torchDefault } from '../nn/initialiser.ts'
import { Linear } from '../nn/linear.ts'
import type { ParameterList } from '../nn/parameter-list.ts'
import { fourierFeatures, timestepEmbedding } from '../tensor/ops/embedding.ts'
import { mlp } from '../tensor/ops/linear.ts'
import type { Parameter } from '../tensor/parameter.ts'
import type { Tensor } from '../tensor/tensor.ts'
import type { Observe } from './adaln-block.ts'

/** Sinusoids of a time, and frequencies of them that are drawn. */
const FREQUENCIES = 256

/**
 * Times [B] to vectors [B, hidden]: an MLP over DiT's sinusoids, of fixed frequencies, or over RAE's (GaussianFourierEmbedding), whose 256
 * frequencies are drawn from N(0, 1) when the model is made and never trained.
 */
export class TimeEmbedder {
  readonly #drawn: Parameter | undefined
  readonly #layers: readonly Linear[]

  constructor(
    list: ParameterList,
    { hidden, drawn = false, init }: { hidden: number; drawn?: boolean; init?: LayerInitialiser },
  ) {
    if (drawn) this.#drawn = list.declare('t_embedder.W', [FREQUENCIES], normal(1), { trainable: false })
    // RAE's code leaves these as PyTorch makes them.
    const bias = init ?? (drawn ? torchDefault : undefined)
    const layer = (place: number, input: number) =>
      new Linear(list, `t_embedder.mlp.${place}`, input, hidden, init?.(input) ?? normal(0.02), bias?.(input))
    this.#layers = [layer(0, drawn ? 2 * FREQUENCIES : FREQUENCIES), layer(2, hidden)]
  }

  /** `observe` is shown the sinusoids as `t_freq` and the result as `t_embedder`. */
  forward(t: Tensor, observe?: Observe): Tensor {
    const sinusoids = this.#drawn ? fourierFeatures(t, this.#drawn.value) : timestepEmbedding(t, FREQUENCIES)
    // The condition and the modulation are f32 under every precision: they are small, and every block reads them.
    const time = mlp(sinusoids, this.#layers, 'silu', 'f32')
    observe?.('t_freq', sinusoids)
    observe?.('t_embedder', time)
    return time
  }
}
