import { concatenate } from '../tensor/ops/concatenate.ts'
import { imageInput } from '../tensor/ops/pixels.ts'
import { scope } from '../tensor/scope.ts'
import { Tensor } from '../tensor/tensor.ts'
import { Autoencoder, type AutoencoderOptions } from './autoencoder.ts'
import type { AutoencoderArchitecture } from './autoencoder-architecture.ts'
import type { AutoencoderHalf } from './autoencoder-kl.ts'
import { TAESD_DOWNSAMPLING, type TaesdDecoder, type TaesdEncoder } from './taesd.ts'

/**
 * TAESD as data sets and samplers use it: images in [0, 1]. Its latents are at a model's scale already, and there is no deviation: the
 * posterior is a point.
 */
export class TaesdAutoencoder extends Autoencoder {
  readonly latentChannels: number
  readonly downsampling = TAESD_DOWNSAMPLING
  readonly latentScale = 1
  protected readonly range = [0, 1] as const
  readonly #encoder: TaesdEncoder | undefined
  readonly #decoder: TaesdDecoder | undefined

  /** Takes both halves over, of which one may not be there. */
  constructor(encoder: TaesdEncoder | undefined, decoder: TaesdDecoder | undefined, options: AutoencoderOptions) {
    super(options)
    this.#encoder = encoder
    this.#decoder = decoder
    this.latentChannels = (encoder ?? decoder)!.config.latentChannels
  }

  protected encodeBatch(images: Tensor): Tensor {
    const encoder = this.#encoder ?? this.#missing('encoder')
    return scope(() => {
      const latents = encoder.encode(imageInput(images, { divisor: 255, mean: 0 }))
      const [count, channels, height, width] = latents.shape as [number, number, number, number]
      const mean = latents.reshape([count, channels * height * width])
      return concatenate([mean, Tensor.zeros(mean.shape, this.device)]).reshape([count, 2 * channels, height, width])
    })
  }

  protected decodeBatch(latents: Tensor): Tensor {
    return (this.#decoder ?? this.#missing('decoder')).decode(latents)
  }

  #missing(half: AutoencoderHalf): never {
    throw new Error(`TAESD's ${half} is not here: its file was neither given nor found beside the other half's.`)
  }

  get architecture(): AutoencoderArchitecture {
    return { kind: 'TAESD', config: (this.#encoder ?? this.#decoder)!.config }
  }

  get missingHalf(): AutoencoderHalf | undefined {
    if (!this.#encoder) return 'encoder'
    return this.#decoder ? undefined : 'decoder'
  }

  get networks(): readonly (TaesdEncoder | TaesdDecoder)[] {
    return [this.#encoder, this.#decoder].filter((half) => half !== undefined)
  }
}
