import type { LatentStatistics } from '../formats/latent-statistics.ts'
import { scale } from '../tensor/ops/elementwise.ts'
import { posteriorMoments } from '../tensor/ops/latents.ts'
import { imageInput } from '../tensor/ops/pixels.ts'
import { scope } from '../tensor/scope.ts'
import type { Tensor } from '../tensor/tensor.ts'
import { Autoencoder, type AutoencoderOptions } from './autoencoder.ts'
import type { AutoencoderArchitecture } from './autoencoder-architecture.ts'
import type { AutoencoderHalf, AutoencoderKL } from './autoencoder-kl.ts'
import { Standardisation, type Statistics } from './standardisation.ts'

/** An AutoencoderKL as data sets and samplers use it: images in [−1, 1], latents times its scaling factor, or standardised by channel. */
export class StableDiffusionAutoencoder extends Autoencoder {
  readonly latentChannels: number
  readonly downsampling: number
  readonly latentScale: number
  override readonly statistics: LatentStatistics | undefined
  protected readonly range = [-1, 1] as const
  readonly #model: AutoencoderKL
  /** Of latents, and of their moments, 2C channels whose deviations are divided alone. */
  readonly #standardisation: { readonly latents: Standardisation; readonly moments: Standardisation } | undefined

  /** Takes the model over. With `statistics` the latents are standardised by them, and the name says so. */
  constructor(
    model: AutoencoderKL,
    options: AutoencoderOptions & { readonly statistics?: LatentStatistics | undefined },
  ) {
    const { statistics, name } = options
    super({ ...options, name: statistics ? `${name}, standardised` : name })
    this.statistics = statistics
    this.#standardisation = statistics && {
      latents: new Standardisation({ ...statistics, shape: [statistics.mean.length] }, this.device),
      moments: new Standardisation(ofMoments(statistics), this.device),
    }
    this.#model = model
    this.latentChannels = model.config.latentChannels
    this.downsampling = model.downsampling
    this.latentScale = statistics ? 1 : model.config.scalingFactor
  }

  protected encodeBatch(images: Tensor): Tensor {
    return scope(() => {
      const moments = posteriorMoments(this.#model.encode(imageInput(images, { divisor: 127.5, mean: 1 })))
      return this.#standardisation?.moments.apply(moments) ?? moments
    })
  }

  protected decodeBatch(latents: Tensor): Tensor {
    using unscaled = this.#standardisation?.latents.undo(latents) ?? scale(latents, 1 / this.latentScale)
    return this.#model.decode(unscaled)
  }

  get architecture(): AutoencoderArchitecture {
    return { kind: 'AutoencoderKL', config: this.#model.config, isStandardised: this.#standardisation !== undefined }
  }

  get missingHalf(): AutoencoderHalf | undefined {
    const { half } = this.#model
    return half && (half === 'encoder' ? 'decoder' : 'encoder')
  }

  get networks(): readonly AutoencoderKL[] {
    return [this.#model]
  }

  override dispose(): void {
    super.dispose()
    this.#standardisation?.latents.dispose()
    this.#standardisation?.moments.dispose()
  }
}

/** Of 2C channels, the means and then the deviations, which are divided alone. */
function ofMoments({ mean, std }: LatentStatistics): Statistics {
  return {
    mean: Float32Array.from([...mean, ...mean.map(() => 0)]),
    std: Float32Array.from([...std, ...std]),
    shape: [2 * mean.length],
  }
}
