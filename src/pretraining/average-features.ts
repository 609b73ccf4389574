import type { ChannelStatistics } from '../alignment/preprocessing.ts'
import { VisionEncoder } from '../alignment/vision-encoder.ts'
import type { Dataset } from '../data/dataset.ts'
import { imageBatch } from '../data/image-batch.ts'
import { KeyedPermutation } from '../data/permutation.ts'
import { VisionTransformer } from '../models/vit.ts'
import { stateSource } from '../nn/state-dict.ts'
import type { HostTensor } from '../tensor/host-tensor.ts'
import { columnSum } from '../tensor/ops/elementwise.ts'
import { scope } from '../tensor/scope.ts'
import type { PretrainingMethod } from './method.ts'

/** Images that are looked at, of a larger set drawn by the seed: their mean is off by a 64th of the features' own spread. */
const IMAGES = 4096
const BATCH = 64

/** The mean over a data set's images of an encoder's features at each place of its grid, f32 [rows · columns, D]. */
export async function averageFeatures(
  method: PretrainingMethod,
  data: Dataset,
  { statistics, seed, signal }: { statistics: ChannelStatistics; seed: number; signal?: AbortSignal | undefined },
): Promise<Float32Array> {
  const { config } = method.encoder
  const { device } = method.model
  using encoder = new VisionEncoder({ statistics }, 'vit', await frozen(method))
  const side = config.imageSize / config.patch
  const count = Math.min(IMAGES, data.length)
  const order = new KeyedPermutation(data.length, seed, 0)
  const sums = new Float64Array(side * side * config.hidden)
  for (let first = 0; first < count; first += BATCH) {
    signal?.throwIfAborted()
    const indices = Array.from({ length: Math.min(BATCH, count - first) }, (_, i) => order.at(first + i))
    using images = await imageBatch(data, indices, device)
    using sum = scope(() => {
      const features = encoder.features(images, [side, side])
      return columnSum(features.reshape([indices.length, sums.length]))
    })
    for (const [i, value] of (await sum.data()).entries()) sums[i]! += value
  }
  return Float32Array.from(sums, (sum) => sum / count)
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
