/** The files of the training layout, relative to its folder. */
export const LAYOUT = {
  images: 'images',
  latents: 'vae-sd',
  /** The latents of the images' mirror images, under the names of the images' own. */
  flippedLatents: 'vae-sd-flip',
  /** A folder for each encoder: shards of cached features. */
  features: 'features',
  labels: 'dataset.json',
  captions: 'captions.json',
  info: 'dataset-info.json',
  /** Stands there as long as the preparation is unfinished. */
  journal: 'prepare-journal.jsonl',
} as const
