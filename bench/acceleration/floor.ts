import type { Dataset } from '../../src/data/dataset.ts'
import type { FeatureNetwork } from '../../src/evaluation/feature-network.ts'
import { FeatureStatistics, type Gaussian } from '../../src/evaluation/feature-statistics.ts'
import { frechetDistance } from '../../src/evaluation/frechet-distance.ts'

/** The Fréchet distance of held-out photographs from the training images, for as many as are generated: evenly spread over the set. */
export async function distanceOfPhotographs(
  data: Dataset,
  { judge, reference, count }: { readonly judge: FeatureNetwork; readonly reference: Gaussian; readonly count: number },
): Promise<number> {
  const taken = Math.min(count, data.length)
  using statistics = new FeatureStatistics(judge.width)
  for (let first = 0; first < taken; first += judge.batch) {
    const size = Math.min(judge.batch, taken - first)
    const area = data.imageSize ** 2
    const pixels = new Uint8Array(size * 3 * area)
    for (let n = 0; n < size; n++) {
      const { image } = await data.read(Math.floor(((first + n) * data.length) / taken), { image: true, latent: false })
      for (let c = 0; c < 3; c++) for (let i = 0; i < area; i++) pixels[(n * area + i) * 3 + c] = image![c * area + i]!
    }
    const { features } = await judge.run({ pixels, count: size, height: data.imageSize, width: data.imageSize })
    statistics.add(features)
  }
  return frechetDistance(reference, await statistics.finish())
}
