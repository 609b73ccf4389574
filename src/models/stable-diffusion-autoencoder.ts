import type { Device } from '../tensor/device.ts'
import { scale } from '../tensor/ops/elementwise.ts'
import { posteriorMoments, standardize } from '../tensor/ops/latents.ts'
import { imageInput } from '../tensor/ops/pixels.ts'
import { keep, scope } from '../tensor/scope.ts'
import { Tensor } from '../tensor/tensor.ts'
import { Autoencoder, type AutoencoderOptions } from './autoencoder.ts'
import type { AutoencoderArchitecture } from './autoencoder-architecture.ts'
import type { AutoencoderKL } from './autoencoder-kl.ts'
import { type LatentStatistics, unstandardized } from './latent-statistics.ts'

/** An AutoencoderKL as data sets and samplers use it: images in [−1, 1], latents times its scaling factor, or standardised by channel. */
export class StableDiffusionAutoencoder extends Autoencoder {
  readonly latentChannels: number
  readonly downsampling: number
  readonly latentScale: number
  protected readonly range = [-1, 1] as const
  readonly #model: AutoencoderKL
  readonly #statistics: LatentStatistics | undefined
  /** By which moments are standardised: of 2C channels, for deviations are divided alone. */
  readonly #ofMoments: { readonly mean: Tensor; readonly std: Tensor } | undefined

  /** Takes the model over. With `statistics` the latents are standardised by them, and the name says so. */
  constructor(
    model: AutoencoderKL,
    options: AutoencoderOptions & { readonly statistics?: LatentStatistics | undefined },
  ) {
    const { statistics, name } = options
    super({ ...options, name: statistics ? `${name}, standardised` : name })
    this.#statistics = statistics
    this.#ofMoments = statistics && {
      mean: twice(
        statistics.mean,
        statistics.mean.map(() => 0),
        this.device,
      ),
      std: twice(statistics.std, statistics.std, this.device),
    }
    this.#model = model
    this.latentChannels = model.config.latentChannels
    this.downsampling = model.downsampling
    this.latentScale = statistics ? 1 : model.config.scalingFactor
  }

  protected encodeBatch(images: Tensor): Tensor {
    return scope(() => {
      const moments = posteriorMoments(this.#model.encode(imageInput(images, { divisor: 127.5, mean: 1 })))
      return this.#ofMoments ? standardize(moments, this.#ofMoments.mean, this.#ofMoments.std) : moments
    })
  }

  protected decodeBatch(latents: Tensor): Tensor {
    using unscaled = this.#statistics ? unstandardized(latents, this.#statistics) : scale(latents, 1 / this.latentScale)
    return this.#model.decode(unscaled)
  }

  get architecture(): AutoencoderArchitecture {
    return { kind: 'AutoencoderKL', config: this.#model.config, isStandardised: this.#statistics !== undefined }
  }

  get networks(): readonly AutoencoderKL[] {
    return [this.#model]
  }

  override dispose(): void {
    super.dispose()
    this.#ofMoments?.mean.dispose()
    this.#ofMoments?.std.dispose()
  }
}

/** Of the means' channels, then of the deviations'. Not of a scope. */
function twice(means: Float32Array, deviations: Float32Array, device: Device): Tensor {
  const all = Float32Array.from([...means, ...deviations])
  return keep(Tensor.from(all, [all.length], device))
}
