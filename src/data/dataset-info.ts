import { z } from 'zod'
import { DEFAULT_LATENT_SCALE } from './latent-encoder.ts'
import { TRANSFORMS } from './transforms.ts'

/** What decides the bytes of a prepared data set; an unfinished preparation goes on only under the same settings. */
export const prepareSettings = z.strictObject({
  /** SHA-256 over the names and labels of the source's images, in order. */
  listing: z.string(),
  size: z.int().positive(),
  transform: z.enum(TRANSFORMS),
  wideHeight: z.int().positive(),
  /** `pixels`, or the autoencoder that made the latents and the shape [2C, h, w] of mean and std. */
  latents: z.union([
    z.literal('pixels'),
    z.strictObject({
      encoder: z.string(),
      shape: z.tuple([z.int(), z.int(), z.int()]),
      /** What training multiplies them by. */
      scale: z.number().positive().default(DEFAULT_LATENT_SCALE),
    }),
  ]),
})

export type PrepareSettings = z.infer<typeof prepareSettings>

/** Why an image of the source has no place in the data set. */
export const skippedImage = z.strictObject({ name: z.string(), reason: z.string() })

export type SkippedImage = z.infer<typeof skippedImage>

/** `dataset-info.json`: what a prepared data set is and how it came about, for people and for the names of classes. */
export const datasetInfo = z.strictObject({
  format: z.literal('repa-native-dataset-1'),
  source: z.string(),
  settings: prepareSettings,
  images: z.int().positive(),
  /** By label; absent where the source's labels have no names. */
  classNames: z.array(z.string()).optional(),
  /** Images of each class, by label. */
  classCounts: z.array(z.int()),
  skipped: z.array(skippedImage),
  /** Files of the source that are no images: how many, and the first of them. */
  ignored: z.strictObject({ count: z.int(), names: z.array(z.string()) }),
  notes: z.array(z.string()),
})

export type DatasetInfo = z.infer<typeof datasetInfo>

/** The files of the training layout, relative to its folder. */
export const LAYOUT = {
  images: 'images',
  latents: 'vae-sd',
  labels: 'dataset.json',
  info: 'dataset-info.json',
  /** Stands there as long as the preparation is unfinished. */
  journal: 'prepare-journal.jsonl',
} as const
