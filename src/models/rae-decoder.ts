/**
 * The decoder of a representation autoencoder (RAE, arXiv 2510.11690), frozen: the tokens of an encoder's features to patches of pixels, by
 * a vision transformer as MAE's decoder is one. Names of what is not a block are those of its code (stage1/decoders/decoder.py), those of
 * blocks are timm's behind `decoder_layers.`.
 */
import { parseConfiguration } from '../configuration/parse.ts'
import { xavierUniform, zeros } from '../nn/initialiser.ts'
import { Linear } from '../nn/linear.ts'
import { ParameterList } from '../nn/parameter-list.ts'
import type { Device } from '../tensor/device.ts'
import { linear } from '../tensor/ops/linear.ts'
import { dropTokens, prependTokens } from '../tensor/ops/tokens.ts'
import type { Parameter } from '../tensor/parameter.ts'
import { release, scope } from '../tensor/scope.ts'
import { Tensor } from '../tensor/tensor.ts'
import { Model } from './model.ts'
import { Block, LayerNorm } from './vit-block.ts'
import { visionTransformerConfigSchema } from './vit-config.ts'

export interface RaeDecoderConfig {
  /** Width of the encoder's features. */
  readonly latentChannels: number
  readonly hidden: number
  readonly depth: number
  readonly heads: number
  readonly ffnWidth: number
  /** Rows, and columns, of tokens. */
  readonly grid: number
  /** Side of a token's patch of pixels. */
  readonly patch: number
}

const IMAGE_CHANNELS = 3

class Network {
  readonly embed: Linear
  readonly positions: Parameter
  readonly classToken: Parameter
  readonly blocks: readonly Block[]
  readonly norm: LayerNorm
  readonly prediction: Linear

  constructor(list: ParameterList, sizes: RaeDecoderConfig, what: string) {
    const { latentChannels, hidden, depth, heads, ffnWidth, grid, patch } = sizes
    // What ViTMAEConfig says of a block's layers by default.
    const layers = { layerScale: false, activation: 'gelu-erf', epsilon: 1e-12 }
    const config = parseConfiguration(
      visionTransformerConfigSchema,
      { hidden, depth, heads, ffnWidth, patch, imageSize: grid * patch, ...layers },
      what,
    )
    const entries = 1 + grid ** 2
    this.embed = new Linear(list, 'decoder_embed', latentChannels, hidden)
    this.positions = list.declare('decoder_pos_embed', [entries, hidden], zeros, { fileShape: [1, entries, hidden] })
    this.classToken = list.declare('trainable_cls_token', [hidden], zeros, { fileShape: [1, 1, hidden] })
    this.blocks = Array.from(
      { length: depth },
      (_, index) => new Block(list, `decoder_layers.${index}`, config, xavierUniform),
    )
    this.norm = new LayerNorm(list, 'decoder_norm', config)
    this.prediction = new Linear(list, 'decoder_pred', hidden, IMAGE_CHANNELS * patch ** 2)
  }
}

export class RaeDecoder extends Model {
  readonly config: RaeDecoderConfig
  readonly #network: Network

  /**
   * With undefined weights: for loading a state dict. `what` names where the sizes come from.
   *
   * @throws {ConfigurationError} naming every size that is wrong
   */
  constructor(config: RaeDecoderConfig, device: Device, what = "the decoder's configuration") {
    const list = new ParameterList()
    const network = new Network(list, config, what)
    super(list, device)
    this.config = config
    this.#network = network
  }

  /** Features f32 [B, T, latentChannels], row-major over the grid → patches of pixels f32 [B, T, p·p·3], channels fastest. */
  decode(features: Tensor): Tensor {
    const { embed, positions, classToken, blocks, norm, prediction } = this.#network
    const { hidden, grid } = this.config
    return scope(() => {
      const ones = Tensor.full([hidden], 1, features.device)
      const embedded = linear(features, embed, 'f32')
      let stream = prependTokens(embedded, {
        positions: positions.value.view(hidden, [grid ** 2, hidden]),
        classToken: classToken.value,
        classPosition: positions.value.view(0, [hidden]),
      })
      release(embedded)
      for (const block of blocks) {
        const input = stream
        stream = scope(() => block.forward(input, ones))
        release(input)
      }
      const tokens = dropTokens(stream, 1)
      release(stream)
      return linear(norm.forward(tokens, prediction.dtype), prediction, 'f32')
    })
  }
}
