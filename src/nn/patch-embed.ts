import type { LinearWeights } from '../tensor/ops/linear.ts'
import { patchEmbed } from '../tensor/ops/patch-embed.ts'
import type { Parameter } from '../tensor/parameter.ts'
import type { Tensor } from '../tensor/tensor.ts'
import { type LayerInitialiser, xavierUniform, zeros } from './initialiser.ts'
import type { ParameterList } from './parameter-list.ts'

/**
 * A convolution whose stride is its kernel, as a product over patches: image [B, C, H, W] → tokens [B, T, D], row-major.
 * The weight is [D, C·p·p] here and the convolution's [D, C, p, p] in files: the same order in memory.
 */
export class PatchEmbed implements LinearWeights {
  readonly patch: number
  readonly #weight: Parameter
  readonly #bias: Parameter | undefined

  constructor(
    list: ParameterList,
    name: string,
    options: { channels: number; patch: number; hidden: number; bias?: boolean; init?: LayerInitialiser },
  ) {
    const { channels, patch, hidden, bias = true } = options
    const init = options.init?.(channels * patch * patch)
    this.patch = patch
    this.#weight = list.declare(`${name}.weight`, [hidden, channels * patch * patch], init ?? xavierUniform, {
      fileShape: [hidden, channels, patch, patch],
    })
    if (bias) this.#bias = list.declare(`${name}.bias`, [hidden], init ?? zeros)
  }

  get weight(): Tensor {
    return this.#weight.compute
  }

  get bias(): Tensor | undefined {
    return this.#bias?.value
  }

  /** With the positions [T, D] added in the same pass. */
  embed(image: Tensor, positions: Tensor): Tensor {
    return patchEmbed(image, this.patch, this, positions)
  }
}
