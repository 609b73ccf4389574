/**
 * AutoencoderKL, the Stable Diffusion VAE (arXiv 2112.10752) and, with attention in a level and more channels, VA-VAE (arXiv 2501.01423),
 * frozen: inference only. Names and shapes are those of the state dict of diffusers' class of that name; images inside are channels last, and
 * every GroupNorm with its SiLU is applied where the convolution behind it reads its input.
 */
import * as z from 'zod'
import { native } from '../native.ts'
import { Conv2d } from '../nn/conv2d.ts'
import { GroupNorm } from '../nn/group-norm.ts'
import { Linear } from '../nn/linear.ts'
import { ParameterList } from '../nn/parameter-list.ts'
import type { StateSource } from '../nn/state-dict.ts'
import type { Device } from '../tensor/device.ts'
import type { ComputeDType } from '../tensor/dtype.ts'
import { conv2d, convDType } from '../tensor/ops/conv2d.ts'
import { add } from '../tensor/ops/elementwise.ts'
import { groupNormApply } from '../tensor/ops/group-norm.ts'
import { channelsFirst, channelsLast } from '../tensor/ops/layout.ts'
import { linear } from '../tensor/ops/linear.ts'
import { wideAttention } from '../tensor/ops/wide-attention.ts'
import { release, scope } from '../tensor/scope.ts'
import { Tensor } from '../tensor/tensor.ts'
import { ConvolutionalModel } from './convolutional-model.ts'

const positive = z.int().positive()

/** Sizes of an AutoencoderKL; defaults are the Stable Diffusion VAE's. */
export const autoencoderKLConfigSchema = z
  .strictObject({
    inChannels: positive.default(3),
    outChannels: positive.default(3),
    /** Channels of each level, the image's resolution first; every level but the last halves it. */
    blockChannels: z.array(positive).min(1).default([128, 256, 512, 512]),
    /** Residual blocks of a level of the encoder; the decoder has one more. */
    layersPerBlock: positive.default(2),
    /** Levels from 0, the image's resolution, of which every residual block is followed by attention: of the encoder, and of the decoder. */
    encoderAttention: z.array(z.int().min(0)).default([]),
    decoderAttention: z.array(z.int().min(0)).default([]),
    latentChannels: positive.default(4),
    normGroups: positive.default(32),
    /** Latents are trained on times this. */
    scalingFactor: z.number().positive().default(0.18215),
  })
  .refine(
    ({ blockChannels, normGroups }) => blockChannels.every((channels) => channels % normGroups === 0),
    'the channels of every block must be a multiple of the norm groups',
  )

export type AutoencoderKLConfig = z.output<typeof autoencoderKLConfigSchema>

const EPSILON = 1e-6

/** x → x + conv(f(norm(conv(f(norm(x)))))), f SiLU; a 1 × 1 convolution brings x to other channels. */
class ResnetBlock {
  readonly #norm1: GroupNorm
  readonly #conv1: Conv2d
  readonly #norm2: GroupNorm
  readonly #conv2: Conv2d
  readonly #shortcut: Conv2d | undefined

  constructor(list: ParameterList, name: string, inputs: number, outputs: number, groups: number) {
    this.#norm1 = new GroupNorm(list, `${name}.norm1`, { channels: inputs, groups, epsilon: EPSILON })
    this.#conv1 = new Conv2d(list, `${name}.conv1`, { inputs, outputs, kernel: 3 })
    this.#norm2 = new GroupNorm(list, `${name}.norm2`, { channels: outputs, groups, epsilon: EPSILON })
    this.#conv2 = new Conv2d(list, `${name}.conv2`, { inputs: outputs, outputs, kernel: 3 })
    if (inputs !== outputs) {
      this.#shortcut = new Conv2d(list, `${name}.conv_shortcut`, { inputs, outputs, kernel: 1 })
    }
  }

  /** Takes x over: its memory becomes the result's, or is freed as soon as nothing reads it. */
  forward(x: Tensor): Tensor {
    return scope(() => {
      const hidden = normalizedConv(x, this.#norm1, this.#conv1, convDType(this.#conv1))
      const residual = this.#shortcut ? conv2d(x, this.#shortcut) : x
      if (residual !== x) release(x)
      const out = normalizedConv(hidden, this.#norm2, this.#conv2, 'f32', residual)
      release(residual)
      return out
    })
  }
}

/** conv(silu(norm(x))) + residual, in the residual's memory where there is one. */
function normalizedConv(x: Tensor, norm: GroupNorm, conv: Conv2d, dtype: ComputeDType, residual?: Tensor): Tensor {
  using coefficients = norm.coefficients(x)
  return conv2d(x, conv, {
    norm: { coefficients, activation: 'silu' },
    dtype,
    ...(residual && { residual, intoResidual: true }),
  })
}

/** x + attention over all pixels, one head as wide as the block. */
class AttentionBlock {
  readonly #norm: GroupNorm
  readonly #query: Linear
  readonly #key: Linear
  readonly #value: Linear
  readonly #out: Linear

  constructor(list: ParameterList, name: string, channels: number, groups: number) {
    this.#norm = new GroupNorm(list, `${name}.group_norm`, { channels, groups, epsilon: EPSILON })
    this.#query = new Linear(list, `${name}.to_q`, channels, channels)
    this.#key = new Linear(list, `${name}.to_k`, channels, channels)
    this.#value = new Linear(list, `${name}.to_v`, channels, channels)
    this.#out = new Linear(list, `${name}.to_out.0`, channels, channels)
  }

  /** Takes x [N, H, W, C] over. */
  forward(x: Tensor): Tensor {
    const [count, height, width, channels] = x.shape as [number, number, number, number]
    const tokens = height * width
    return scope(() => {
      const normed = groupNormApply(x, this.#norm.coefficients(x), 'none', this.#query.dtype).reshape([
        count,
        tokens,
        channels,
      ])
      const [q, k, v] = [this.#query, this.#key, this.#value].map((layer) => linear(normed, layer)) as [
        Tensor,
        Tensor,
        Tensor,
      ]
      release(normed)
      const mixed = Tensor.empty([count, tokens, channels], x.device, this.#query.dtype)
      for (let n = 0; n < count; n++) {
        scope(() => {
          const [qn, kn, vn] = [q, k, v].map((all) => all.slice(n, n + 1).reshape([tokens, channels])) as [
            Tensor,
            Tensor,
            Tensor,
          ]
          const sample = mixed.slice(n, n + 1).reshape([tokens, channels])
          native().copy(sample.handle, wideAttention(qn, kn, vn).handle)
        })
      }
      const out = add(x, linear(mixed, this.#out, 'f32').reshape(x.shape))
      release(x)
      return out
    })
  }
}

class MidBlock {
  readonly #first: ResnetBlock
  readonly #attention: AttentionBlock
  readonly #second: ResnetBlock

  constructor(list: ParameterList, name: string, channels: number, groups: number) {
    this.#attention = new AttentionBlock(list, `${name}.attentions.0`, channels, groups)
    this.#first = new ResnetBlock(list, `${name}.resnets.0`, channels, channels, groups)
    this.#second = new ResnetBlock(list, `${name}.resnets.1`, channels, channels, groups)
  }

  forward(x: Tensor): Tensor {
    return this.#second.forward(this.#attention.forward(this.#first.forward(x)))
  }
}

/** What both halves have in common: levels of residual blocks, in some with attention, with a change of resolution behind each but the last. */
interface Level {
  readonly resnets: readonly ResnetBlock[]
  /** Behind each residual block; none: there is no attention. */
  readonly attentions: readonly AttentionBlock[]
  readonly sampler: Conv2d | undefined
}

/** Takes x over, up to the change of resolution. */
function throughBlocks({ resnets, attentions }: Level, x: Tensor): Tensor {
  return resnets.reduce((hidden, resnet, i) => {
    const out = resnet.forward(hidden)
    return attentions[i]?.forward(out) ?? out
  }, x)
}

/** `count` attentions of a level, where it has some. */
function attentionsOf(
  list: ParameterList,
  name: string,
  count: number,
  channels: number,
  groups: number,
): AttentionBlock[] {
  return Array.from({ length: count }, (_, i) => new AttentionBlock(list, `${name}.attentions.${i}`, channels, groups))
}

class Encoder {
  readonly #convIn: Conv2d
  readonly #levels: readonly Level[]
  readonly #mid: MidBlock
  readonly #normOut: GroupNorm
  readonly #convOut: Conv2d

  constructor(list: ParameterList, config: AutoencoderKLConfig) {
    const { blockChannels, normGroups: groups, layersPerBlock, latentChannels } = config
    const [first] = blockChannels as [number]
    const last = blockChannels.at(-1)!
    this.#convIn = new Conv2d(list, 'encoder.conv_in', { inputs: config.inChannels, outputs: first, kernel: 3 })
    this.#levels = blockChannels.map((channels, level) => {
      const name = `encoder.down_blocks.${level}`
      const before = blockChannels[level - 1] ?? first
      const resnets = Array.from(
        { length: layersPerBlock },
        (_, i) => new ResnetBlock(list, `${name}.resnets.${i}`, i === 0 ? before : channels, channels, groups),
      )
      const count = config.encoderAttention.includes(level) ? layersPerBlock : 0
      const attentions = attentionsOf(list, name, count, channels, groups)
      const isLast = level === blockChannels.length - 1
      const sampler = isLast
        ? undefined
        : new Conv2d(list, `${name}.downsamplers.0.conv`, { inputs: channels, outputs: channels, kernel: 3 })
      return { resnets, attentions, sampler }
    })
    this.#mid = new MidBlock(list, 'encoder.mid_block', last, groups)
    this.#normOut = new GroupNorm(list, 'encoder.conv_norm_out', { channels: last, groups, epsilon: EPSILON })
    this.#convOut = new Conv2d(list, 'encoder.conv_out', { inputs: last, outputs: 2 * latentChannels, kernel: 3 })
  }

  /** [N, H, W, 3] → [N, h, w, 2C]; takes x over. */
  forward(x: Tensor): Tensor {
    return scope(() => {
      let hidden = conv2d(x, this.#convIn)
      release(x)
      for (const level of this.#levels) {
        hidden = throughBlocks(level, hidden)
        const { sampler } = level
        if (sampler) {
          const input = hidden
          // Zeros on the right and at the bottom alone.
          hidden = conv2d(input, sampler, { stride: 2, padding: [0, 1, 0, 1] })
          release(input)
        }
      }
      return normalizedConv(this.#mid.forward(hidden), this.#normOut, this.#convOut, 'f32')
    })
  }
}

class Decoder {
  readonly #convIn: Conv2d
  readonly #mid: MidBlock
  readonly #levels: readonly Level[]
  readonly #normOut: GroupNorm
  readonly #convOut: Conv2d

  constructor(list: ParameterList, config: AutoencoderKLConfig) {
    const { normGroups: groups, layersPerBlock, latentChannels } = config
    const blockChannels = config.blockChannels.toReversed()
    const [first] = blockChannels as [number]
    const last = blockChannels.at(-1)!
    this.#convIn = new Conv2d(list, 'decoder.conv_in', { inputs: latentChannels, outputs: first, kernel: 3 })
    this.#mid = new MidBlock(list, 'decoder.mid_block', first, groups)
    this.#levels = blockChannels.map((channels, level) => {
      const name = `decoder.up_blocks.${level}`
      const before = blockChannels[level - 1] ?? first
      const resnets = Array.from(
        { length: layersPerBlock + 1 },
        (_, i) => new ResnetBlock(list, `${name}.resnets.${i}`, i === 0 ? before : channels, channels, groups),
      )
      const isLast = level === blockChannels.length - 1
      const count = config.decoderAttention.includes(blockChannels.length - 1 - level) ? layersPerBlock + 1 : 0
      const attentions = attentionsOf(list, name, count, channels, groups)
      const sampler = isLast
        ? undefined
        : new Conv2d(list, `${name}.upsamplers.0.conv`, { inputs: channels, outputs: channels, kernel: 3 })
      return { resnets, attentions, sampler }
    })
    this.#normOut = new GroupNorm(list, 'decoder.conv_norm_out', { channels: last, groups, epsilon: EPSILON })
    this.#convOut = new Conv2d(list, 'decoder.conv_out', { inputs: last, outputs: config.outChannels, kernel: 3 })
  }

  /** [N, h, w, C] → [N, H, W, 3]; takes z over. */
  forward(z: Tensor): Tensor {
    return scope(() => {
      const input = conv2d(z, this.#convIn)
      release(z)
      let hidden = this.#mid.forward(input)
      for (const level of this.#levels) {
        hidden = throughBlocks(level, hidden)
        const { sampler } = level
        if (sampler) {
          const small = hidden
          hidden = conv2d(small, sampler, { upsample: 2 })
          release(small)
        }
      }
      return normalizedConv(hidden, this.#normOut, this.#convOut, 'f32')
    })
  }
}

/** Pixels of the image per latent element along one side. */
export function downsamplingOf({ blockChannels }: AutoencoderKLConfig): number {
  return 2 ** (blockChannels.length - 1)
}

/** A half of an autoencoder. */
export type AutoencoderHalf = 'encoder' | 'decoder'

export class AutoencoderKL extends ConvolutionalModel {
  readonly config: AutoencoderKLConfig
  /** The only half that is there; undefined: both are. */
  readonly half: AutoencoderHalf | undefined
  readonly #encoder: { readonly network: Encoder; readonly quant: Conv2d } | undefined
  readonly #decoder: { readonly network: Decoder; readonly postQuant: Conv2d } | undefined

  private constructor(config: AutoencoderKLConfig, device: Device, half: AutoencoderHalf | undefined) {
    const list = new ParameterList()
    const { latentChannels } = config
    const encoder = half === 'decoder' ? undefined : new Encoder(list, config)
    const decoder = half === 'encoder' ? undefined : new Decoder(list, config)
    const pointwise = (name: string, channels: number) =>
      new Conv2d(list, name, { inputs: channels, outputs: channels, kernel: 1 })
    const encode = encoder && { network: encoder, quant: pointwise('quant_conv', 2 * latentChannels) }
    const decode = decoder && { network: decoder, postQuant: pointwise('post_quant_conv', latentChannels) }
    super(list, device)
    this.config = config
    this.half = half
    this.#encoder = encode
    this.#decoder = decode
  }

  /** With undefined weights: for loading a state dict, or `initialise(seed)`. `half`: the other half takes no memory and is not loaded. */
  static fromConfig(config: AutoencoderKLConfig, device: Device, half?: AutoencoderHalf): AutoencoderKL {
    return new AutoencoderKL(config, device, half)
  }

  override load(source: StateSource): Promise<void> {
    const other = { encoder: /^(decoder|post_quant_conv)\./, decoder: /^(encoder|quant_conv)\./ }
    return super.load(source, { ignore: (name) => this.half !== undefined && other[this.half].test(name) })
  }

  get downsampling(): number {
    return downsamplingOf(this.config)
  }

  /**
   * The posterior's parameters: images [N, H, W, 3] in [−1, 1], H and W multiples of `downsampling` → [N, 2C, h, w] f32, the mean,
   * then the logarithm of the variance, not clamped.
   */
  encode(images: Tensor): Tensor {
    const [, height, width, channels] = images.shape
    const { downsampling } = this
    if (channels !== this.config.inChannels || height! % downsampling !== 0 || width! % downsampling !== 0) {
      throw new RangeError(
        `AutoencoderKL.encode: the images have shape [${images.shape}]; expected [N, H, W, ${this.config.inChannels}] with H and W multiples of ${downsampling}.`,
      )
    }
    const { network, quant } = this.#encoder ?? this.#missing('encoder')
    return scope(() => channelsFirst(conv2d(network.forward(images.alias()), quant)))
  }

  /** Latents [N, C, h, w] f32, not scaled → images [N, 3, H, W] f32, in about [−1, 1]. */
  decode(latents: Tensor): Tensor {
    if (latents.shape.length !== 4 || latents.shape[1] !== this.config.latentChannels) {
      throw new RangeError(
        `AutoencoderKL.decode: the latents have shape [${latents.shape}]; expected [N, ${this.config.latentChannels}, h, w].`,
      )
    }
    const { network, postQuant } = this.#decoder ?? this.#missing('decoder')
    return scope(() => channelsFirst(network.forward(conv2d(channelsLast(latents), postQuant))))
  }

  #missing(half: AutoencoderHalf): never {
    throw new Error(`This AutoencoderKL was made without its ${half}.`)
  }
}
