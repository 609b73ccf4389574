import { createHash } from 'node:crypto'
import type { LatentStatistics } from '../formats/latent-statistics.ts'
import type { LatentSettings } from './dataset-info.ts'

/** The encoder half of an autoencoder, as the preparation of latents needs it. */
export interface LatentEncoder {
  /** Recorded with the data set, for example `sd-vae-ft-mse`. */
  readonly name: string
  /** SHA-256 of its files (`autoencoderDigest(path, 'encoder')`), which tells it from others of its name; undefined where nothing does. */
  readonly weights?: string | undefined
  /** Side of the tiles that it works in, in latent elements; undefined: whole images. Latents of no more than this are made at once. */
  readonly tile?: number | undefined
  /** C: channels of one latent sample; 4 for the Stable Diffusion VAE. */
  readonly latentChannels: number
  /** Pixels per latent element along one side; 8 for the Stable Diffusion VAE. */
  readonly downsampling: number
  /**
   * What training multiplies the data set's latents by; recorded with it. 0.18215 for the Stable Diffusion VAE, 1 for latents that are
   * at a model's scale already (TAESD's). Default: `DEFAULT_LATENT_SCALE`, and 1 without deviations.
   */
  readonly latentScale?: number
  /** Whether a latent has a deviation; without, it is a point at a model's scale. Default: true. */
  readonly hasDeviations?: boolean
  /** How many images `encode` wants at a time; the last call may bring fewer. */
  readonly batchSize: number
  /**
   * The posterior of each image, not scaled, or its point.
   *
   * @param images each `size × size × 3` bytes, channels fastest
   * @returns for each image 2C × h × w floats, the mean, then the standard deviation; or C × h × w of a point
   */
  encode(images: readonly Uint8Array[], size: number): Promise<readonly Float32Array[]>
}

/** REPA's scale of Stable Diffusion latents: that of data sets which do not say, the reference's own among them. */
export const DEFAULT_LATENT_SCALE = 0.18215

/** `[2C, h, w]` or of points `[C, h, w]`: the shape of what is stored of `size × size` images. */
export function latentShape(encoder: LatentEncoder, size: number): [number, number, number] {
  const { downsampling, latentChannels, hasDeviations = true } = encoder
  const side = size / downsampling
  return [hasDeviations ? 2 * latentChannels : latentChannels, side, side]
}

/** What an encoder is to write, for the journal and the data set's information. @throws {RangeError} for points that are to be scaled */
export function latentSettingsOf(encoder: LatentEncoder, size: number): LatentSettings {
  const { name, weights, tile, hasDeviations = true } = encoder
  const { latentScale: scale = hasDeviations ? DEFAULT_LATENT_SCALE : 1 } = encoder
  if (!hasDeviations && scale !== 1) {
    throw new RangeError(
      `The latents of the autoencoder '${name}' have no deviations and a scale of ${scale}; expected 1, for points are stored at a model's scale.`,
    )
  }
  const shape = latentShape(encoder, size)
  return {
    encoder: name,
    ...(weights !== undefined && { weights }),
    ...(tile !== undefined && tile < shape[1] && { tile }),
    shape,
    scale,
    ...(!hasDeviations && { deviations: false }),
  }
}

/**
 * By what an encoder standardises its latents, as an `Autoencoder` tells it; undefined where nothing does. What else is called so is the
 * encoder's own, and tells nothing.
 */
export function statisticsOf(encoder: LatentEncoder): LatentStatistics | undefined {
  return 'statistics' in encoder && areStatistics(encoder.statistics) ? encoder.statistics : undefined
}

function areStatistics(value: unknown): value is LatentStatistics {
  if (typeof value !== 'object' || value === null || !('mean' in value && 'std' in value)) return false
  return value.mean instanceof Float32Array && value.std instanceof Float32Array
}

/** SHA-256 of statistics by which latents are standardised; of there being none, too. */
export function statisticsDigest(statistics: LatentStatistics | undefined): string {
  const hash = createHash('sha256')
  for (const values of statistics ? [statistics.mean, statistics.std] : []) {
    hash.update(new Uint8Array(values.buffer, values.byteOffset, values.byteLength))
  }
  return hash.digest('hex')
}
