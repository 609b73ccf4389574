import type { ComputeDType } from '../tensor/dtype.ts'
import { scale } from '../tensor/ops/elementwise.ts'
import type { Tensor } from '../tensor/tensor.ts'
import { Autoencoder, type AutoencoderOptions } from './autoencoder.ts'
import type { AutoencoderKL } from './autoencoder-kl.ts'
import { type LatentStatistics, standardizeMoments, unstandardized } from './latent-statistics.ts'
import { momentsOf } from './posterior.ts'

/** An AutoencoderKL as data sets and samplers use it: images in [−1, 1], latents times its scaling factor, or standardised by channel. */
export class StableDiffusionAutoencoder extends Autoencoder {
  readonly latentChannels: number
  readonly downsampling: number
  readonly latentScale: number
  protected readonly input = { divisor: 127.5, mean: 1 }
  protected readonly range = [-1, 1] as const
  readonly #model: AutoencoderKL
  readonly #statistics: LatentStatistics | undefined

  /** Takes the model over. With `statistics` the latents are standardised by them, and the name says so. */
  constructor(
    model: AutoencoderKL,
    options: AutoencoderOptions & { readonly statistics?: LatentStatistics | undefined },
  ) {
    const { statistics, name } = options
    super({ ...options, name: statistics ? `${name}, standardised` : name })
    this.#statistics = statistics
    this.#model = model
    this.latentChannels = model.config.latentChannels
    this.downsampling = model.downsampling
    this.latentScale = statistics ? 1 : model.config.scalingFactor
  }

  protected async encodeBatch(images: Tensor): Promise<Float32Array> {
    using parameters = this.#model.encode(images)
    const moments = momentsOf(await parameters.data(), parameters.shape)
    const [, , height, width] = parameters.shape as [number, number, number, number]
    if (this.#statistics) standardizeMoments(moments, this.#statistics, height * width)
    return moments
  }

  protected decodeBatch(latents: Tensor): Tensor {
    using unscaled = this.#statistics ? unstandardized(latents, this.#statistics) : scale(latents, 1 / this.latentScale)
    return this.#model.decode(unscaled)
  }

  computeIn(dtype: ComputeDType): void {
    this.#model.computeIn(dtype)
  }

  dispose(): void {
    this.#model.dispose()
  }
}
