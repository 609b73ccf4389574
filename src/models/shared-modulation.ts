import { type Initialiser, ones, zeros } from '../nn/initialiser.ts'
import type { ParameterList } from '../nn/parameter-list.ts'
import { silu } from '../tensor/ops/elementwise.ts'
import { type LinearWeights, linear } from '../tensor/ops/linear.ts'
import { normFactors } from '../tensor/ops/norm-factors.ts'
import { reshape } from '../tensor/ops/reshape.ts'
import type { Parameter } from '../tensor/parameter.ts'
import type { Tensor } from '../tensor/tensor.ts'
import type { SharedParts } from './adaln-block.ts'

export interface SharedModulationOptions {
  readonly hidden: number
  /** Vectors of the modulation in all, those of a final layer among them. */
  readonly chunks: number
  /** Norms that have weights (RMSNorm). */
  readonly norms: number
  /** What the projections begin with, weights and biases alike. Default: zeros (adaLN-zero). */
  readonly init?: Initialiser
  /** In front of the shared parameters' names, which no file has. */
  readonly prefix?: string
}

/**
 * The adaLN projections of several blocks, and the weights of their norms. All blocks see one condition, so the projections of a step are one
 * product: their weights stand side by side in one parameter, and files hold its parts under the blocks' names. RMSNorm's weights do too,
 * [norms, hidden], in the order in which they read the stream.
 */
export class SharedModulation {
  readonly #weight: Parameter
  readonly #bias: Parameter
  readonly #norms: Parameter | undefined
  readonly #hidden: number
  readonly #chunks: number
  /** What declares the parts, in the blocks' order. */
  readonly parts: Pick<SharedParts, 'adaLN' | 'norm'>

  constructor(list: ParameterList, options: SharedModulationOptions) {
    const { hidden, chunks, norms: rows, init = zeros, prefix = '' } = options
    this.#hidden = hidden
    this.#chunks = chunks
    const weight = list.declareShared(`${prefix}adaLN_modulation.weight`, [chunks * hidden, hidden])
    const bias = list.declareShared(`${prefix}adaLN_modulation.bias`, [chunks * hidden])
    const norms = rows > 0 ? list.declareShared(`${prefix}norms.weight`, [rows, hidden]) : undefined
    this.#weight = weight.parameter
    this.#bias = bias.parameter
    this.#norms = norms?.parameter
    this.parts = {
      adaLN: (name, count) => {
        weight.part(`${name}.weight`, [count * hidden, hidden], init)
        bias.part(`${name}.bias`, [count * hidden], init)
      },
      norm: (name) => norms?.part(`${name}.weight`, [hidden], ones),
    }
  }

  /**
   * Conditions [S, hidden] → modulations [S, chunks, hidden] of all blocks and the final layer: `plain` as the product gives them, `applied`
   * with RMSNorm's factors in place of the scales where norms have weights.
   */
  of(condition: Tensor): { plain: Tensor; applied: Tensor } {
    const adaLN: LinearWeights = { weight: this.#weight.compute, bias: this.#bias.value }
    const product = linear(silu(condition), adaLN, 'f32')
    const plain = reshape(product, [condition.shape[0]!, this.#chunks, this.#hidden])
    return { plain, applied: this.#norms ? normFactors(plain, this.#norms.value) : plain }
  }
}
