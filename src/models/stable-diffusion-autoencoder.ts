import type { ComputeDType } from '../tensor/dtype.ts'
import { scale } from '../tensor/ops/elementwise.ts'
import type { Tensor } from '../tensor/tensor.ts'
import { Autoencoder, type AutoencoderOptions } from './autoencoder.ts'
import type { AutoencoderKL } from './autoencoder-kl.ts'
import { momentsOf } from './posterior.ts'

/** An AutoencoderKL as data sets and samplers use it: images in [−1, 1], latents times its scaling factor. */
export class StableDiffusionAutoencoder extends Autoencoder {
  readonly latentChannels: number
  readonly downsampling: number
  readonly latentScale: number
  protected readonly input = { divisor: 127.5, mean: 1 }
  protected readonly range = [-1, 1] as const
  readonly #model: AutoencoderKL

  /** Takes the model over. */
  constructor(model: AutoencoderKL, options: AutoencoderOptions) {
    super(options)
    this.#model = model
    this.latentChannels = model.config.latentChannels
    this.downsampling = model.downsampling
    this.latentScale = model.config.scalingFactor
  }

  protected async encodeBatch(images: Tensor): Promise<Float32Array> {
    using parameters = this.#model.encode(images)
    return momentsOf(await parameters.data(), parameters.shape)
  }

  protected decodeBatch(latents: Tensor): Tensor {
    using unscaled = scale(latents, 1 / this.latentScale)
    return this.#model.decode(unscaled)
  }

  computeIn(dtype: ComputeDType): void {
    this.#model.computeIn(dtype)
  }

  dispose(): void {
    this.#model.dispose()
  }
}
