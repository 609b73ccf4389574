import * as z from 'zod'
import { DEFAULT_LATENT_SCALE } from './latent-encoder.ts'
import { TRANSFORMS } from './transforms.ts'

/** What decides the bytes of the images. */
const imageSettings = z.strictObject({
  /** SHA-256 over the names and labels of the source's images, in order. */
  listing: z.string(),
  size: z.int().positive(),
  transform: z.enum(TRANSFORMS),
  wideHeight: z.int().positive(),
})

export type ImageSettings = z.infer<typeof imageSettings>

/** What decides the bytes of the latents. */
const latentSettings = z
  .strictObject({
    /** The autoencoder that made them. */
    encoder: z.string(),
    /** SHA-256 of its files: weights, configuration, statistics; absent where nothing tells it, as in sets of older versions. */
    weights: z.string().optional(),
    /** Side of the tiles that it worked in, in latent elements; absent where it saw whole images, and in sets of older versions. */
    tile: z.int().positive().optional(),
    /** [2C, h, w]: mean and standard deviation; of points [C, h, w]. */
    shape: z.tuple([z.int(), z.int(), z.int()]),
    /** What training multiplies them by. */
    scale: z.number().positive().default(DEFAULT_LATENT_SCALE),
    /** Of points, which have none and are at a model's scale. */
    deviations: z.literal(false).optional(),
  })
  .refine(({ scale, deviations = true }) => deviations || scale === 1, {
    path: ['scale'],
    error: "expected 1, for latents without deviations are stored at a model's scale",
  })

export type LatentSettings = z.infer<typeof latentSettings>

/** What decides the bytes of one encoder's cached features. */
const featureSettings = z.strictObject({
  /** As the command line spells it. */
  encoder: z.string(),
  /** SHA-256 of its file of weights; absent where it is built in. */
  weights: z.string().optional(),
  /** Rows and columns of the tokens. */
  grid: z.tuple([z.int().positive(), z.int().positive()]),
  width: z.int().positive(),
})

export type FeatureSettings = z.infer<typeof featureSettings>

/** What decides the captions. */
const captionSettings = z.strictObject({
  /** SHA-256 over the captions of the source's images, in order. */
  listing: z.string(),
})

export type CaptionSettings = z.infer<typeof captionSettings>

/** The captions that a set has. */
const captionInfo = captionSettings.extend({
  /** The same over those of captions.json, from which images that were left out have been taken. */
  written: z.string(),
  /** What they were read from, in words. */
  source: z.string(),
  /** How many there are, of all images. */
  count: z.int().positive(),
  /** Images that have none: they train on the empty caption. */
  withoutCaption: z.int().nonnegative(),
})

export type CaptionInfo = z.infer<typeof captionInfo>

/** What a preparation is asked to make; an unfinished one goes on only where it is asked for the same. */
export const preparation = z.strictObject({
  /** Absent where it adds to images that are there already. */
  images: imageSettings.optional(),
  captions: captionSettings.optional(),
  latents: latentSettings.optional(),
  features: z.array(featureSettings),
  /** Whether latents and features are made of each image's mirror image too. */
  flip: z.boolean(),
})

export type Preparation = z.infer<typeof preparation>

/** Why an image of the source has no place in the data set. */
export const skippedImage = z.strictObject({ name: z.string(), reason: z.string() })

export type SkippedImage = z.infer<typeof skippedImage>

/** `dataset-info.json`: what a prepared data set is and how it came about, for people and for the names of classes. */
export const datasetInfo = z.strictObject({
  format: z.literal('repa-native-dataset-1'),
  source: z.string(),
  /** Absent where another tool made the images. */
  settings: imageSettings.optional(),
  images: z.int().positive(),
  /** By label; absent where the source's labels have no names. */
  classNames: z.array(z.string()).optional(),
  /** Images of each class, by label. */
  classCounts: z.array(z.int()),
  skipped: z.array(skippedImage),
  /** Files of the source that are not named as images that are read here: how many, and the first of them. */
  ignored: z.strictObject({ count: z.int(), names: z.array(z.string()) }),
  notes: z.array(z.string()),
  captions: captionInfo.optional(),
  /** Absent where the pixels are the latents. */
  latents: latentSettings.optional(),
  /**
   * `statisticsDigest` of what the latents are standardised by; absent where they are not, and in sets of older versions. No part of what a
   * call is compared by: the digest of the autoencoder's files has them.
   */
  latentStatistics: z.hash('sha256').optional(),
  features: z.array(featureSettings).default([]),
  /** Whether training may take each image's mirror image in its place: its latents and features are there as well. */
  flip: z.boolean().default(false),
})

/** What a set's `dataset-info.json` says of it: where it comes from, what was skipped, and what decides its images, latents and features. */
export type DatasetInfo = z.infer<typeof datasetInfo>
