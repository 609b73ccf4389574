import type { Dataset } from '../data/dataset.ts'
import { KeyedPermutation } from '../data/permutation.ts'
import type { ChannelStatistics } from '../models/image-normalisation.ts'

/** Images that are looked at, of a larger set drawn by the seed: the mean of 10,000 is good to a few thousandths. */
const IMAGES = 10_000

/** Mean and standard deviation of a data set's channels, in [0, 1]. */
export async function channelStatistics(data: Dataset, seed: number, signal?: AbortSignal): Promise<ChannelStatistics> {
  const count = Math.min(IMAGES, data.length)
  const order = new KeyedPermutation(data.length, seed, 0)
  const area = data.imageSize ** 2
  const image = new Uint8Array(data.imageLength)
  // Whole numbers: exact up to 2^53, which so many squares of bytes do not reach.
  const sums = [0, 0, 0]
  const squares = [0, 0, 0]
  for (let i = 0; i < count; i++) {
    signal?.throwIfAborted()
    await data.readInto(order.at(i), { image })
    for (let c = 0; c < 3; c++) {
      let [sum, square] = [0, 0]
      for (let p = c * area; p < (c + 1) * area; p++) {
        const value = image[p]!
        sum += value
        square += value * value
      }
      sums[c]! += sum
      squares[c]! += square
    }
  }
  const mean = sums.map((sum) => sum / (count * area))
  // Of images of one colour nothing is divided by 0.
  const std = squares.map((square, c) => Math.max(1, Math.sqrt(square / (count * area) - mean[c]! ** 2)))
  return { mean: mean.map((value) => value / 255), std: std.map((value) => value / 255) }
}
