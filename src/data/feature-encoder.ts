import type { FeatureSettings } from './dataset-info.ts'

/** Rows and columns of an image's tokens. */
export type TokenGrid = readonly [rows: number, columns: number]

/** An encoder to align with, as the caching of its features needs it: a program's own may be one. */
export interface FeatureEncoder {
  /** As the command line spells it: `dinov2-vit-b`. */
  readonly name: string
  /** SHA-256 of its file of weights; undefined where it is built in. */
  readonly weights: string | undefined
  /** Width of a feature. */
  readonly width: number
  /** How many images `encode` wants at a time; the last call may bring fewer. */
  readonly batchSize: number
  /**
   * The features of each image.
   *
   * @param images each `size × size × 3` bytes, channels fastest
   * @returns for each image rows · columns × width numbers, row-major: floats, which are rounded to float16, or the bits of float16
   */
  encode(
    images: readonly Uint8Array[],
    size: number,
    grid: TokenGrid,
  ): Promise<readonly Uint16Array[] | readonly Float32Array[]>
}

/** What an encoder is to write, for the journal and the data set's information. */
export function featureSettingsOf({ name, weights, width }: FeatureEncoder, grid: TokenGrid): FeatureSettings {
  return { encoder: name, ...(weights !== undefined && { weights }), grid: [...grid], width }
}
