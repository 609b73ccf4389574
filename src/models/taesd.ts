/**
 * TAESD, the tiny autoencoder distilled from the Stable Diffusion VAE (Ollin Boer Bohan, github.com/madebyollin/taesd), frozen:
 * inference only. Names are those of the official nn.Sequential, encoder and decoder each a state dict of its own. Latents are at
 * the scale of Stable Diffusion latents times 0.18215.
 */
import { native } from '../native.ts'
import { Conv2d } from '../nn/conv2d.ts'
import { ParameterList } from '../nn/parameter-list.ts'
import type { StateSource } from '../nn/state-dict.ts'
import type { Device } from '../tensor/device.ts'
import { conv2d, convDType } from '../tensor/ops/conv2d.ts'
import { channelsFirst, channelsLast } from '../tensor/ops/layout.ts'
import { release, scope } from '../tensor/scope.ts'
import { Tensor } from '../tensor/tensor.ts'
import { ConvolutionalModel } from './convolutional-model.ts'

export interface TaesdConfig {
  /** 64 in every published file. */
  readonly width: number
  readonly latentChannels: number
}

const IMAGE_CHANNELS = 3
/** Latents are tamed to ±3 before they are decoded. */
const LATENT_LIMIT = 3
/** Pixels per latent element along one side: three changes of resolution. */
export const TAESD_DOWNSAMPLING = 8

/** relu(conv(relu(conv(relu(conv(x))))) + x). */
class Block {
  readonly #convs: readonly [Conv2d, Conv2d, Conv2d]

  constructor(list: ParameterList, name: string, width: number) {
    const conv = (index: number) =>
      new Conv2d(list, `${name}.conv.${index}`, { inputs: width, outputs: width, kernel: 3 })
    this.#convs = [conv(0), conv(2), conv(4)]
  }

  /** The result takes x's memory. */
  forward(x: Tensor): Tensor {
    const [first, second, third] = this.#convs
    return scope(() => {
      const dtype = convDType(first)
      const one = conv2d(x, first, { activation: 'relu', dtype })
      const two = conv2d(one, second, { activation: 'relu', dtype })
      release(one)
      return conv2d(two, third, { residual: x, intoResidual: true, activation: 'relu' })
    })
  }
}

/** One layer of the Sequential that computes something, and how. */
type Layer = (x: Tensor) => Tensor

/** A state dict's layers under their numbers. */
class Sequential {
  readonly list = new ParameterList()
  readonly layers: Layer[] = []
  #index = 0

  /** A convolution with what the reference has around it: an upsampling in front, a ReLU behind are layers with numbers too. */
  conv(
    inputs: number,
    outputs: number,
    options: { bias?: boolean; stride?: number; upsample?: 1 | 2; relu?: boolean } = {},
  ): this {
    const { bias = true, stride = 1, upsample = 1, relu = false } = options
    if (upsample > 1) this.#index++
    const conv = new Conv2d(this.list, String(this.#index++), { inputs, outputs, kernel: 3, bias })
    if (relu) this.#index++
    this.layers.push((x) => conv2d(x, conv, { stride, upsample, activation: relu ? 'relu' : 'none' }))
    return this
  }

  blocks(count: number, width: number): this {
    for (let i = 0; i < count; i++) {
      const block = new Block(this.list, String(this.#index++), width)
      this.layers.push((x) => block.forward(x))
    }
    return this
  }

  clamp(): this {
    this.#index++
    this.layers.push((x) => new Tensor(native().softClamp(x.handle, LATENT_LIMIT), x.device))
    return this
  }

  /** Takes x over. */
  run(x: Tensor): Tensor {
    return this.layers.reduce((input, layer) => {
      const output = layer(input)
      release(input)
      return output
    }, x)
  }
}

export class TaesdEncoder extends ConvolutionalModel {
  readonly config: TaesdConfig
  readonly #layers: Sequential

  constructor(config: TaesdConfig, device: Device) {
    const { width, latentChannels } = config
    const down = { stride: 2, bias: false }
    const layers = new Sequential()
      .conv(IMAGE_CHANNELS, width)
      .blocks(1, width)
      .conv(width, width, down)
      .blocks(3, width)
      .conv(width, width, down)
      .blocks(3, width)
      .conv(width, width, down)
      .blocks(3, width)
      .conv(width, latentChannels)
    super(layers.list, device)
    this.config = config
    this.#layers = layers
  }

  /** Images [N, H, W, 3] f32 in [0, 1], H and W multiples of 8 → latents [N, C, H/8, W/8] f32. */
  encode(images: Tensor): Tensor {
    const [, height, width, channels] = images.shape
    if (channels !== IMAGE_CHANNELS || height! % TAESD_DOWNSAMPLING !== 0 || width! % TAESD_DOWNSAMPLING !== 0) {
      throw new RangeError(
        `TaesdEncoder.encode: the images have shape [${images.shape}]; expected [N, H, W, 3] with H and W multiples of 8.`,
      )
    }
    return scope(() => channelsFirst(this.#layers.run(images.alias())))
  }
}

export class TaesdDecoder extends ConvolutionalModel {
  readonly config: TaesdConfig
  readonly #layers: Sequential

  constructor(config: TaesdConfig, device: Device) {
    const { width, latentChannels } = config
    const up = { upsample: 2, bias: false } as const
    const layers = new Sequential()
      .clamp()
      .conv(latentChannels, width, { relu: true })
      .blocks(3, width)
      .conv(width, width, up)
      .blocks(3, width)
      .conv(width, width, up)
      .blocks(3, width)
      .conv(width, width, up)
      .blocks(1, width)
      .conv(width, IMAGE_CHANNELS)
    super(layers.list, device)
    this.config = config
    this.#layers = layers
  }

  /** Latents [N, C, h, w] f32 → images [N, 3, 8h, 8w] f32, in about [0, 1], not clamped. */
  decode(latents: Tensor): Tensor {
    if (latents.shape.length !== 4 || latents.shape[1] !== this.config.latentChannels) {
      throw new RangeError(
        `TaesdDecoder.decode: the latents have shape [${latents.shape}]; expected [N, ${this.config.latentChannels}, h, w].`,
      )
    }
    return scope(() => channelsFirst(this.#layers.run(channelsLast(latents))))
  }
}

/** Which half of TAESD a state dict is: the encoder begins with a convolution, the decoder with the clamp, which has no tensors. */
export function taesdHalf(names: readonly string[]): 'encoder' | 'decoder' | undefined {
  const has = (name: string) => names.includes(name)
  if (has('0.weight') && has('1.conv.0.weight')) return 'encoder'
  return !has('0.weight') && has('1.weight') && has('3.conv.0.weight') ? 'decoder' : undefined
}

/** The sizes of a half, from its first and its last convolution. */
export function taesdConfig(state: StateSource, half: 'encoder' | 'decoder'): TaesdConfig {
  const axis = (name: string, index: number): number => {
    const shape = state.names.includes(name) ? state.shapeOf(name) : undefined
    if (shape?.length === 4) return shape[index]!
    throw new Error(
      `${state.name} is not a whole TAESD ${half}: ${name} ${shape ? `has shape [${shape}]` : 'is missing'}; expected a convolution's [O, C, 3, 3].`,
    )
  }
  return half === 'encoder'
    ? { width: axis('0.weight', 0), latentChannels: axis('14.weight', 0) }
    : { width: axis('1.weight', 0), latentChannels: axis('1.weight', 1) }
}
