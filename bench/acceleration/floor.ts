import type { Dataset } from '../../src/data/dataset.ts'
import { imageBatch } from '../../src/data/image-batch.ts'
import type { FeatureNetwork } from '../../src/evaluation/feature-network.ts'
import { FeatureStatistics, type Gaussian } from '../../src/evaluation/feature-statistics.ts'
import { frechetDistance } from '../../src/evaluation/frechet-distance.ts'
import { interleaved } from '../../src/tensor/planes.ts'

/** The Fréchet distance of held-out photographs from the training images, for as many as are generated: evenly spread over the set. */
export async function distanceOfPhotographs(
  data: Dataset,
  { judge, reference, count }: { readonly judge: FeatureNetwork; readonly reference: Gaussian; readonly count: number },
): Promise<number> {
  const taken = Math.min(count, data.length)
  using statistics = new FeatureStatistics(judge.width)
  for (let first = 0; first < taken; first += judge.batch) {
    const size = Math.min(judge.batch, taken - first)
    const { imageSize } = data
    const indices = Array.from({ length: size }, (_, n) => Math.floor(((first + n) * data.length) / taken))
    using planes = await imageBatch(data, indices, 'cpu')
    const pixels = interleaved(await planes.dataAs('u8'), imageSize ** 2)
    const { features } = await judge.run({ pixels, count: size, height: imageSize, width: imageSize })
    statistics.add(features)
  }
  return frechetDistance(reference, await statistics.finish())
}
