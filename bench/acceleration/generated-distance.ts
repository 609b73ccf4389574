import { sampleImages } from '../../src/diffusion/sample-images.ts'
import type { FeatureNetwork } from '../../src/evaluation/feature-network.ts'
import { FeatureStatistics, type Gaussian } from '../../src/evaluation/feature-statistics.ts'
import { frechetDistance } from '../../src/evaluation/frechet-distance.ts'
import type { AnyTransformer } from '../../src/models/transformer-kinds.ts'

/** Of the noise that images are made of: the same for every run and step. */
const SEED = 2024

export interface GeneratedDistanceOptions {
  readonly judge: FeatureNetwork
  /** The training images, in the judge's features. */
  readonly reference: Gaussian
  /** Images to make, of all classes alike. */
  readonly count: number
  readonly steps: number
  readonly batch: number
  /** How many of the first images are to be kept. */
  readonly keep: number
  readonly signal?: AbortSignal
  readonly onProgress?: (images: number) => void
}

export interface GeneratedDistance {
  readonly distance: number
  /** Bytes [keep, H, W, 3] of the first images, whose classes are 0, 1, … in turn. */
  readonly images: Uint8Array
  readonly shape: readonly [number, number, number, 3]
}

/**
 * The Fréchet distance of generated images from the training images: by the probability-flow ODE with Heun's steps, without guidance,
 * from the same noise and classes at every call.
 */
export async function generatedDistance(
  model: AnyTransformer,
  { judge, reference, count, steps, batch, keep, signal, onProgress }: GeneratedDistanceOptions,
): Promise<GeneratedDistance> {
  const labels = Int32Array.from({ length: count }, (_, i) => i % model.config.classes)
  using statistics = new FeatureStatistics(judge.width)
  const kept: Uint8Array[] = []
  let size = [0, 0]
  for await (const { first, count: made, images, height, width } of sampleImages(model, {
    labels,
    seed: SEED,
    batch,
    steps,
    mode: 'ode',
    solver: 'heun',
    ...(signal && { signal }),
    ...(onProgress && { onProgress }),
  })) {
    const length = 3 * height * width
    if (first < keep) kept.push(images.subarray(0, (keep - first) * length))
    size = [height, width]
    const { features } = await judge.run({ pixels: images, count: made, height, width })
    statistics.add(features)
  }
  const images = Buffer.concat(kept)
  const [height, width] = size as [number, number]
  return {
    distance: await frechetDistance(reference, await statistics.finish()),
    images,
    shape: [images.length / (3 * height * width), height, width, 3],
  }
}
