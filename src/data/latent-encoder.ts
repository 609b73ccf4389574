import type { LatentSettings } from './dataset-info.ts'

/** The encoder half of an autoencoder, as the preparation of latents needs it. */
export interface LatentEncoder {
  /** Recorded with the data set, for example `sd-vae-ft-mse`. */
  readonly name: string
  /** C: channels of one latent sample; 4 for the Stable Diffusion VAE. */
  readonly latentChannels: number
  /** Pixels per latent element along one side; 8 for the Stable Diffusion VAE. */
  readonly downsampling: number
  /**
   * What training multiplies the data set's latents by; recorded with it. 0.18215 for the Stable Diffusion VAE, 1 for latents that are
   * at a model's scale already (TAESD's). Default: `DEFAULT_LATENT_SCALE`.
   */
  readonly latentScale?: number
  /** How many images `encode` wants at a time; the last call may bring fewer. */
  readonly batchSize: number
  /**
   * The posterior of each image, not scaled.
   *
   * @param images each `size × size × 3` bytes, channels fastest
   * @returns for each image 2C × h × w floats: the mean, then the standard deviation
   */
  encode(images: readonly Uint8Array[], size: number): Promise<readonly Float32Array[]>
}

/** REPA's scale of Stable Diffusion latents: that of data sets which do not say, the reference's own among them. */
export const DEFAULT_LATENT_SCALE = 0.18215

/** `[2C, h, w]`: the shape of the posteriors of `size × size` images. */
export function latentShape(encoder: LatentEncoder, size: number): [number, number, number] {
  const side = size / encoder.downsampling
  return [2 * encoder.latentChannels, side, side]
}

/** What an encoder is to write, for the journal and the data set's information. */
export function latentSettingsOf(encoder: LatentEncoder, size: number): LatentSettings {
  const { name, latentScale: scale = DEFAULT_LATENT_SCALE } = encoder
  return { encoder: name, shape: latentShape(encoder, size), scale }
}
