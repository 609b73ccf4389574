import type { Dataset } from '../../src/data/dataset.ts'
import { KeyedPermutation } from '../../src/data/permutation.ts'
import type { AnyTransformer } from '../../src/models/transformer-kinds.ts'
import { randomNormal } from '../../src/tensor/random.ts'
import { scope } from '../../src/tensor/scope.ts'
import { Tensor } from '../../src/tensor/tensor.ts'
import { objectiveFor } from '../../src/training/objectives.ts'

/** Of the noise and of which time falls to which image: neither depends on the seed of a run. */
const SEED = 2024

export interface HeldOutLossOptions {
  /** Images that the model was not trained on, of pixels. */
  readonly data: Dataset
  /** How many of them, evenly spread. */
  readonly count: number
  readonly batch: number
  readonly signal?: AbortSignal
}

/**
 * The training loss without alignment, mean ‖v − v̂‖² over images that the model has not seen, with their classes. Images, noise and
 * times are the same at every call, and the times are evenly spaced over (0, 1): what is left of chance is the model's own.
 */
export async function heldOutLoss(model: AnyTransformer, options: HeldOutLossOptions): Promise<number> {
  const { data, batch, signal } = options
  const count = Math.min(options.count, data.length)
  using objective = objectiveFor(model)
  const timeOf = new KeyedPermutation(count, SEED, 0)
  const { device } = model
  let sum = 0
  for (let first = 0; first < count; first += batch) {
    signal?.throwIfAborted()
    const size = Math.min(batch, count - first)
    const numbers = Array.from({ length: size }, (_, i) => first + i)
    const images = numbers.map((number) => Math.floor((number * data.length) / count))
    const latents = await readLatents(data, images)
    const times = Float32Array.from(numbers, (number) => (timeOf.at(number) + 0.5) / count)
    const labels = Int32Array.from(images, (image) => data.labels[image]!)
    const shape = [size, ...data.latentShape]
    using losses = scope(() => {
      const { input, t, losses } = objective.noised({
        latents: Tensor.from(latents, shape, device),
        noise: randomNormal(shape, { seed: SEED, stream: 'noise', step: 0, firstSample: first }, device),
        t: Tensor.from(times, [size], device),
      })
      return losses(model.forward(input, t, Tensor.from(labels, [size], device)).prediction).denoising
    })
    sum += (await losses.data()).reduce((total, loss) => total + loss, 0)
  }
  return sum / count
}

async function readLatents(data: Dataset, images: readonly number[]): Promise<Float32Array> {
  const length = data.latentShape.reduce((product, size) => product * size, 1)
  const latents = new Float32Array(images.length * length)
  await Promise.all(
    images.map((image, i) => data.readInto(image, { latent: latents.subarray(i * length, (i + 1) * length) })),
  )
  return latents
}
