import { availableParallelism } from 'node:os'
import { insideBalls, neighbourRadii } from '../tensor/ops/statistics.ts'
import { Tensor } from '../tensor/tensor.ts'

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

export interface PrecisionRecallOptions {
  /** Looked at after some rows of images each: all pairs of 50,000 take a processor minutes. */
  readonly signal?: AbortSignal | undefined
  /** Called with the share that is done. */
  readonly onProgress?: (share: number) => void
}

/** Rows that a core compares with all others before anybody can stop it: twice those that it takes at once. */
const ROWS_PER_CORE = 192

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
  { signal, onProgress }: PrecisionRecallOptions = {},
): Promise<PrecisionRecall> {
  const k = PRECISION_RECALL_NEIGHBOURS
  if (reference.width !== samples.width) {
    throw new RangeError(
      `The reference has ${reference.width} features an image, the samples ${samples.width}; they must be the same network's.`,
    )
  }
  for (const { count } of [reference, samples]) {
    if (count <= k)
      throw new RangeError(`Precision and recall with ${k} neighbours need more than ${k} images; there are ${count}.`)
  }
  const pairs = (reference.count + samples.count) ** 2
  let done = 0
  /** Some rows of a set after the other, each of which is compared with so many others. */
  const forRows = async (
    set: FeatureMatrix,
    others: number,
    compare: (rows: Tensor, begin: number) => Promise<void>,
  ) => {
    const step = ROWS_PER_CORE * availableParallelism()
    for (let begin = 0; begin < set.count; begin += step) {
      signal?.throwIfAborted()
      const end = Math.min(set.count, begin + step)
      using rows = set.tensor.slice(begin, end)
      await compare(rows, begin)
      done += (end - begin) * others
      onProgress?.(done / pairs)
    }
  }
  const radiiOf = async (set: FeatureMatrix) => {
    const all = new Float32Array(set.count)
    await forRows(set, set.count, async (rows, begin) => {
      using radii = neighbourRadii(rows, set.tensor, k)
      all.set(await radii.data(), begin)
    })
    return all
  }
  const shareInside = async (set: FeatureMatrix, centres: FeatureMatrix, radii: Float32Array) => {
    using squaredRadii = Tensor.from(radii, [centres.count], centres.tensor.device)
    let inside = 0
    await forRows(set, centres.count, async (rows) => {
      using flags = insideBalls(rows, centres.tensor, squaredRadii)
      for (const flag of await flags.dataAs('u8')) inside += flag
    })
    return inside / set.count
  }
  const referenceRadii = await radiiOf(reference)
  const sampleRadii = await radiiOf(samples)
  return {
    precision: await shareInside(samples, reference, referenceRadii),
    recall: await shareInside(reference, samples, sampleRadii),
    referenceRadii,
    sampleRadii,
  }
}
