import { Model } from '../models/model.ts'
import { sinCosPositions } from '../models/positions.ts'
import { Block, LayerNorm } from '../models/vit-block.ts'
import { type VisionTransformerConfig, visionTransformerConfigSchema } from '../models/vit-config.ts'
import { VisionNetwork } from '../models/vit-network.ts'
import { normal, values, xavierUniform } from '../nn/initialiser.ts'
import { Linear } from '../nn/linear.ts'
import { ParameterList, type StateEntry } from '../nn/parameter-list.ts'
import type { Device } from '../tensor/device.ts'
import { add } from '../tensor/ops/elementwise.ts'
import { embedding } from '../tensor/ops/embedding.ts'
import { linear } from '../tensor/ops/linear.ts'
import { gatherTokens, prependTokens } from '../tensor/ops/tokens.ts'
import type { Parameter } from '../tensor/parameter.ts'
import { keep, release, scope } from '../tensor/scope.ts'
import { Tensor } from '../tensor/tensor.ts'

/** Sizes of the decoder. */
export interface DecoderSizes {
  readonly hidden: number
  readonly depth: number
  readonly heads: number
}

/** A batch's masks (masking.ts) on the device, as tokens. */
export interface MaskedTokens {
  /** i32 [B, V]: the patches that are seen. */
  readonly visible: Tensor
  /** i32 [B, 1 + T]: which of the encoder's tokens each of the decoder's is, class token first; −1: the mask token. */
  readonly restored: Tensor
  /** i32 [B, M]: the decoder's tokens of the patches that are not seen. */
  readonly masked: Tensor
}

/** The decoder's layers, under MAE's names. */
class Decoder {
  readonly maskToken: Parameter
  readonly positions: Parameter
  readonly embed: Linear
  readonly blocks: readonly Block[]
  readonly norm: LayerNorm
  readonly prediction: Linear

  constructor(list: ParameterList, encoder: VisionTransformerConfig, config: VisionTransformerConfig) {
    const { hidden, depth } = config
    const side = encoder.imageSize / encoder.patch
    const entries = 1 + side ** 2
    this.maskToken = list.declare('mask_token', [hidden], normal(0.02), { fileShape: [1, 1, hidden] })
    const table = values(() => {
      const positions = new Float32Array(entries * hidden)
      positions.set(sinCosPositions(hidden, side, side), hidden)
      return positions
    })
    this.positions = list.declare('decoder_pos_embed', [entries, hidden], table, {
      trainable: false,
      fileShape: [1, entries, hidden],
    })
    this.embed = new Linear(list, 'decoder_embed', encoder.hidden, hidden)
    this.blocks = Array.from(
      { length: depth },
      (_, index) => new Block(list, `decoder_blocks.${index}`, config, xavierUniform),
    )
    this.norm = new LayerNorm(list, 'decoder_norm', config)
    this.prediction = new Linear(list, 'decoder_pred', hidden, encoder.channels * encoder.patch ** 2)
  }
}

/**
 * MAE's masked autoencoder (arXiv 2111.06377): a vision transformer that sees some of the patches, and a smaller one that fills in the
 * others. Parameter names and shapes are those of facebookresearch/mae; only the rows of `decoder_pred` are in the order (channel, y,
 * x) of a patch embedding's weight.
 */
export class MaskedAutoencoder extends Model {
  readonly encoder: VisionNetwork
  readonly encoderEntries: readonly StateEntry[]
  readonly #decoder: Decoder
  readonly #ones: Tensor

  constructor(config: VisionTransformerConfig, sizes: DecoderSizes, device: Device) {
    if (!config.classToken || config.registers > 0) {
      throw new RangeError('MAE trains a vision transformer with a class token and no registers.')
    }
    const decoderConfig = visionTransformerConfigSchema.parse({ ...config, ffnWidth: undefined, ...sizes })
    const list = new ParameterList()
    const encoder = new VisionNetwork(list, config, { init: xavierUniform, fixedPositions: true })
    const encoderEntries = [...list.entries]
    const decoder = new Decoder(list, config, decoderConfig)
    super(list, device)
    this.encoder = encoder
    this.encoderEntries = encoderEntries
    this.#decoder = decoder
    this.#ones = keep(Tensor.full([sizes.hidden], 1, device))
  }

  /** Patches f32 [B, T, C·p·p] of normalised images → what is said of the masked ones, [B, M, C·p·p], f32. */
  forward(patches: Tensor, tokens: MaskedTokens): Tensor {
    return this.#decode(this.#encode(patches, tokens.visible), tokens)
  }

  /** What the encoder makes of the visible patches, class token first: [B, 1 + V, D]. */
  #encode(patches: Tensor, visible: Tensor): Tensor {
    const { encoder } = this
    const tokens = scope(() => {
      const [batch, count] = visible.shape
      const { imageSize, patch, hidden, interpolation } = encoder.config
      const side = imageSize / patch
      const embedded = linear(gatherTokens(patches, visible), encoder.patchEmbed, 'f32')
      const positions = encoder.positions.patchEntries([side, side], interpolation)
      const own = embedding(positions, visible.reshape([batch! * count!])).reshape([batch!, count!, hidden])
      return encoder.sequence(add(embedded, own))
    })
    return scope(() => encoder.normed(encoder.encode(tokens)))
  }

  #decode(encoded: Tensor, { restored, masked }: MaskedTokens): Tensor {
    const { embed, maskToken, positions, blocks, norm, prediction } = this.#decoder
    let hidden = scope(() => {
      const filled = gatherTokens(linear(encoded, embed, 'f32'), restored, maskToken.value)
      return prependTokens(filled, { positions: positions.value })
    })
    release(encoded)
    for (const block of blocks) {
      const input = hidden
      hidden = scope(() => block.forward(input, this.#ones))
      release(input)
    }
    return scope(() => linear(norm.forward(gatherTokens(hidden, masked), prediction.dtype), prediction, 'f32'))
  }

  override dispose(): void {
    this.encoder.clear()
    this.#ones.dispose()
    super.dispose()
  }
}
