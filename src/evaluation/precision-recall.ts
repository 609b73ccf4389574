import { insideBalls, neighbourRadii } from '../tensor/ops/statistics.ts'
import type { Tensor } from '../tensor/tensor.ts'

/** Neighbours that a ball's radius reaches to, in the ADM suite. */
export const PRECISION_RECALL_NEIGHBOURS = 3

/** Rows of features on the CPU. */
export interface FeatureMatrix {
  /** [count, width] f32 */
  readonly tensor: Tensor
  readonly count: number
  readonly width: number
}

export interface PrecisionRecall {
  /** Share of the samples inside some ball of the reference. */
  readonly precision: number
  /** Share of the reference inside some ball of the samples. */
  readonly recall: number
  /** Squared radii of the reference's and the samples' balls. */
  readonly referenceRadii: Float32Array
  readonly sampleRadii: Float32Array
}

/**
 * Improved precision and recall (Kynkäänniemi et al., arXiv 1904.06991) as the ADM suite computes them: around every feature a ball
 * that reaches to its k-th nearest neighbour in its own set, the surface included. Distances are sums of squared differences in f32
 * (the suite's are float16 where they are finite) and are never kept: memory is that of the features.
 *
 * @throws RangeError for a set of k features or fewer
 */
export async function precisionRecall(
  reference: FeatureMatrix,
  samples: FeatureMatrix,
  k = PRECISION_RECALL_NEIGHBOURS,
): Promise<PrecisionRecall> {
  if (reference.width !== samples.width) {
    throw new RangeError(
      `The reference has ${reference.width} features an image, the samples ${samples.width}; they must be the same network's.`,
    )
  }
  for (const { count } of [reference, samples]) {
    if (count <= k)
      throw new RangeError(`Precision and recall with ${k} neighbours need more than ${k} images; there are ${count}.`)
  }
  const { tensor: real } = reference
  const { tensor: generated } = samples
  using realRadii = neighbourRadii(real, k)
  using generatedRadii = neighbourRadii(generated, k)
  using inReal = insideBalls(generated, real, realRadii)
  using inGenerated = insideBalls(real, generated, generatedRadii)
  return {
    precision: share(await inReal.dataAs('u8')),
    recall: share(await inGenerated.dataAs('u8')),
    referenceRadii: await realRadii.data(),
    sampleRadii: await generatedRadii.data(),
  }
}

function share(flags: Uint8Array): number {
  return flags.reduce((sum, flag) => sum + flag, 0) / flags.length
}
