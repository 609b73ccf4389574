import { type Initialiser, ones, zeros } from '../nn/initialiser.ts'
import { Linear } from '../nn/linear.ts'
import type { ParameterList } from '../nn/parameter-list.ts'
import type { ComputeDType } from '../tensor/dtype.ts'
import { attention, causalAttention } from '../tensor/ops/attention.ts'
import { layerNorm } from '../tensor/ops/layer-norm.ts'
import { type HiddenActivation, linear, linearResidual, mlpResidual } from '../tensor/ops/linear.ts'
import { type RotaryTables, rotate } from '../tensor/ops/rope.ts'
import type { Parameter } from '../tensor/parameter.ts'
import { release, scope } from '../tensor/scope.ts'
import type { Tensor } from '../tensor/tensor.ts'
import type { ShowHeads } from './attention-watch.ts'
import type { VisionTransformerConfig } from './vit-config.ts'

/** torch.nn.LayerNorm with weight and bias. */
export class LayerNorm {
  readonly #weight: Parameter
  readonly #bias: Parameter
  readonly #epsilon: number

  constructor(list: ParameterList, name: string, { hidden, epsilon }: { hidden: number; epsilon: number }) {
    this.#weight = list.declare(`${name}.weight`, [hidden], ones)
    this.#bias = list.declare(`${name}.bias`, [hidden], zeros)
    this.#epsilon = epsilon
  }

  /** The result has `dtype`: what the product behind it reads. */
  forward(x: Tensor, dtype: ComputeDType = 'f32'): Tensor {
    return layerNorm(x, this.#weight.value, this.#bias.value, this.#epsilon, dtype)
  }
}

/** What of a configuration a block depends on. */
export interface BlockConfig
  extends Pick<
    VisionTransformerConfig,
    'hidden' | 'heads' | 'ffn' | 'ffnWidth' | 'activation' | 'layerScale' | 'epsilon'
  > {
  /** Whether a token attends to itself and those before it alone, as CLIP's text transformer does. No gradient flows then. Default: to all. */
  readonly causal?: boolean
}

/** A block of a plain transformer, pre-norm: attention, then an MLP or SwiGLU; differentiable where a tape records. */
export class Block {
  readonly #heads: number
  readonly #attention: typeof attention
  readonly #norm1: LayerNorm
  readonly #qkv: Linear
  readonly #proj: Linear
  /** LayerScale's; undefined: a branch joins the stream as it is. */
  readonly #gamma1: Parameter | undefined
  readonly #norm2: LayerNorm
  /** fc1 and fc2, or w12 and w3 of SwiGLU. */
  readonly #ffn: readonly [Linear, Linear]
  readonly #activation: HiddenActivation
  readonly #gamma2: Parameter | undefined

  /** `init` gives the weights of the products their first values. */
  constructor(list: ParameterList, name: string, config: BlockConfig, init: Initialiser) {
    const { hidden, ffn, ffnWidth } = config
    const gamma = (branch: string) =>
      config.layerScale ? list.declare(`${name}.${branch}.gamma`, [hidden], ones) : undefined
    this.#heads = config.heads
    this.#attention = config.causal ? causalAttention : attention
    this.#activation = ffn === 'swiglu' ? 'swiglu' : config.activation
    this.#norm1 = new LayerNorm(list, `${name}.norm1`, config)
    this.#qkv = new Linear(list, `${name}.attn.qkv`, hidden, 3 * hidden, init)
    this.#proj = new Linear(list, `${name}.attn.proj`, hidden, hidden, init)
    this.#gamma1 = gamma('ls1')
    this.#norm2 = new LayerNorm(list, `${name}.norm2`, config)
    this.#ffn =
      ffn === 'swiglu'
        ? [
            new Linear(list, `${name}.mlp.w12`, hidden, 2 * ffnWidth, init),
            new Linear(list, `${name}.mlp.w3`, ffnWidth, hidden, init),
          ]
        : [
            new Linear(list, `${name}.mlp.fc1`, hidden, ffnWidth, init),
            new Linear(list, `${name}.mlp.fc2`, ffnWidth, hidden, init),
          ]
    this.#gamma2 = gamma('ls2')
  }

  /**
   * x [B, N, D] → x + γ1 ⊙ attention, + γ2 ⊙ FFN; `ones` [D] stands for γ where there is no LayerScale. With `rope` queries and keys are
   * turned by their places.
   */
  forward(x: Tensor, ones: Tensor, rope?: RotaryTables, showHeads?: ShowHeads): Tensor {
    const attended = scope(() => {
      const normed = this.#norm1.forward(x, this.#qkv.dtype)
      const qkv = linear(normed, this.#qkv)
      release(normed)
      const turned = rope ? rotate(qkv, rope, this.#heads) : qkv
      showHeads?.({ qkv: turned, heads: this.#heads })
      const heads = this.#attention(turned, this.#heads)
      release(turned)
      if (turned !== qkv) release(qkv)
      return linearResidual(heads, this.#proj, { residual: x, gamma: this.#gamma1?.value, ones })
    })
    return scope(() => {
      const normed = this.#norm2.forward(attended, this.#qkv.dtype)
      const target = { residual: attended, gamma: this.#gamma2?.value, ones }
      return mlpResidual(normed, this.#ffn, this.#activation, target)
    })
  }
}
