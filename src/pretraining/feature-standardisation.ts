import { VisionEncoder } from '../alignment/vision-encoder.ts'
import type { Dataset } from '../data/dataset.ts'
import { imageBatch } from '../data/image-batch.ts'
import { KeyedPermutation } from '../data/permutation.ts'
import type { ChannelStatistics } from '../models/image-normalisation.ts'
import { VisionTransformer } from '../models/vit.ts'
import { stateSource } from '../nn/state-dict.ts'
import type { HostTensor } from '../tensor/host-tensor.ts'
import { scope } from '../tensor/scope.ts'
import type { PretrainingMethod } from './method.ts'

/** Images that are looked at, of a larger set drawn by the seed: their mean is off by a 64th of the features' own spread. */
const IMAGES = 4096
const BATCH = 64

/** What an encoder's features over a data set's images are standardised by. */
export interface FeatureStandardisation {
  /** The mean at each place of the grid, [rows · columns, D]. */
  readonly average: Float64Array
  /** Of each channel [D], over all places: the deviation from the place's average. */
  readonly deviation: Float64Array
}

/**
 * What the features of a method's encoder are of a data set's images, and how far they differ from image to image.
 *
 * @throws Error where they are not finite
 */
export async function featureStandardisation(
  method: PretrainingMethod,
  data: Dataset,
  { statistics, seed, signal }: { statistics: ChannelStatistics; seed: number; signal?: AbortSignal | undefined },
): Promise<FeatureStandardisation> {
  const { config } = method.encoder
  const { device } = method.model
  using encoder = new VisionEncoder({ statistics }, 'vit', await frozen(method))
  const side = config.imageSize / config.patch
  const count = Math.min(IMAGES, data.length)
  const order = new KeyedPermutation(data.length, seed, 0)
  const sums = new Float64Array(side * side * config.hidden)
  const squares = new Float64Array(config.hidden)
  for (let first = 0; first < count; first += BATCH) {
    signal?.throwIfAborted()
    const indices = Array.from({ length: Math.min(BATCH, count - first) }, (_, i) => order.at(first + i))
    using images = await imageBatch(data, indices, device)
    using features = scope(() => encoder.features(images, [side, side]))
    const values = await features.data()
    for (let i = 0; i < values.length; i++) {
      const value = values[i]!
      sums[i % sums.length]! += value
      squares[i % config.hidden]! += value * value
    }
  }
  if (!sums.every(Number.isFinite) || !squares.every(Number.isFinite)) {
    throw new Error(
      'The features of the trained encoder are not all finite numbers: the training has diverged; begin again with a lower learning rate.',
    )
  }
  const average = sums.map((sum) => sum / count)
  return { average, deviation: deviationOf(squares, average, count) }
}

function deviationOf(squares: Float64Array, average: Float64Array, count: number): Float64Array {
  const width = squares.length
  const ofAverage = new Float64Array(width)
  for (const [i, value] of average.entries()) ofAverage[i % width]! += value * value
  const images = (count * average.length) / width
  return squares.map((sum, i) => Math.sqrt(Math.max(0, sum - count * ofAverage[i]!) / images))
}

/** The encoder as it is now, by itself. */
async function frozen({ model, encoder }: PretrainingMethod): Promise<VisionTransformer> {
  const tensors = new Map<string, HostTensor>()
  for (const { name, entry } of encoder.tensors) {
    using view = model.arena.view(encoder.role, entry)
    tensors.set(name, await view.toHost())
  }
  const own = VisionTransformer.fromConfig(encoder.config, model.device)
  try {
    await own.load(stateSource(tensors, `the encoder of ${model.device}`))
    return own
  } catch (error) {
    own.dispose()
    throw error
  }
}
