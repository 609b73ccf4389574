/**
 * REG (arXiv 2507.01467): an encoder's class token is denoised along with the image, as one more token in front of the image's. How it
 * comes in, under the names of its code.
 */
import { Linear } from '../nn/linear.ts'
import type { ParameterList } from '../nn/parameter-list.ts'
import { linear } from '../tensor/ops/linear.ts'
import { reshape } from '../tensor/ops/reshape.ts'
import { joinTokens, prependTokens } from '../tensor/ops/tokens.ts'
import { scope } from '../tensor/scope.ts'
import type { Tensor } from '../tensor/tensor.ts'
import { LayerNorm } from './vit-block.ts'

/** Of the token's LayerNorm. */
const EPSILON = 1e-6

export class ClassTokenEntry {
  readonly #projector: Linear
  readonly #norm: LayerNorm

  constructor(list: ParameterList, { width, hidden }: { width: number; hidden: number }) {
    this.#projector = new Linear(list, 'cls_projectors2', width, hidden)
    this.#norm = new LayerNorm(list, 'wg_norm', { hidden, epsilon: EPSILON })
  }

  /** A noised class token [B, z] and its position [1, D] → the sequence with it in front of tokens [B, N, D], [B, 1 + N, D]. */
  joined(token: Tensor, position: Tensor, tokens: Tensor): Tensor {
    const [batch, , hidden] = tokens.shape
    return scope(() => {
      const entered = this.#norm.forward(linear(token, this.#projector, 'f32'))
      const placed = prependTokens(reshape(entered, [batch!, 1, hidden!]), { positions: position })
      return joinTokens(placed, tokens)
    })
  }
}
