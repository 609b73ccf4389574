import type { Encoder } from '../alignment/encoder.ts'
import type { Dataset } from '../data/dataset.ts'
import { imageBatch } from '../data/image-batch.ts'
import type { Device } from '../tensor/device.ts'
import { requireEncoderProbeOptions } from './evaluation-options.ts'
import { requireFeatureMemory } from './feature-memory.ts'
import { encoderGrid, meanOfTokens } from './feature-network.ts'
import { requireFiniteFeatures } from './finite-features.ts'
import { type ProbeAccuracy, type ProbeSchedule, type ProbeSet, scheduleOf, trainProbes } from './linear-probe.ts'
import { type ProbeImages, probeSplit } from './probe.ts'

export interface EvaluateEncoderProbeOptions extends ProbeImages {
  readonly encoder: Encoder
  readonly schedule?: Partial<ProbeSchedule> | undefined
  /** Images that pass through the encoder at a time. */
  readonly batch: number
  readonly device: Device
  readonly signal?: AbortSignal | undefined
  /** `features`: images; `probes`: epochs. Called with 0 as each is begun. */
  readonly onProgress?: (stage: 'features' | 'probes', done: number, total: number) => void
}

export interface EncoderProbeResult extends ProbeAccuracy {
  readonly kind: 'encoder-probe'
  readonly encoder: string
  /** Classes to choose from. */
  readonly classes: number
  readonly grid: readonly [number, number]
  readonly trainImages: number
  readonly testImages: number
  readonly schedule: ProbeSchedule
}

/**
 * How much of the class an encoder's features know: the accuracy of a linear classifier on the mean of an image's patch features, by
 * the schedule by which the layers of a model are probed. Features are held in memory: images × width floats.
 *
 * @throws {ConfigurationError} for options that are none; {Error} where that is more memory than there is, and as `probeSplit` does
 */
export async function evaluateEncoderProbe(options: EvaluateEncoderProbeOptions): Promise<EncoderProbeResult> {
  requireEncoderProbeOptions(options)
  const { encoder, data, test = data, seed, device, signal, onProgress } = options
  const schedule = scheduleOf(options.schedule)
  const side = encoderGrid(encoder, data.imageSize)
  const grid = [side, side] as const
  const parts = probeSplit(options)
  requireFeatureMemory(parts, { layers: 1, width: encoder.width, device })
  const total = parts.train.length + parts.test.length
  let done = 0
  const featuresOf = async (dataset: Dataset, indices: Int32Array): Promise<ProbeSet> => {
    const { width } = encoder
    const pooled = new Float32Array(indices.length * width)
    const labels = Int32Array.from(indices, (index) => dataset.labels[index]!)
    for (let first = 0; first < indices.length; first += options.batch) {
      signal?.throwIfAborted()
      const batch = indices.subarray(first, first + options.batch)
      using images = await imageBatch(dataset, batch, device)
      using mean = meanOfTokens(() => encoder.features(images, grid))
      const features = await mean.data()
      requireFiniteFeatures(features, { width, first, whose: `the encoder ${encoder.name}`, check: 'its weights' })
      pooled.set(features, first * width)
      done += batch.length
      onProgress?.('features', done, total)
    }
    return { layers: [pooled], labels, width }
  }
  onProgress?.('features', 0, total)
  const train = await featuresOf(data, parts.train)
  const tested = await featuresOf(test, parts.test)
  onProgress?.('probes', 0, schedule.epochs)
  const [accuracy] = await trainProbes({
    train,
    test: tested,
    classes: data.classes,
    schedule,
    seed,
    device,
    signal,
    onEpoch: (epoch) => onProgress?.('probes', epoch, schedule.epochs),
  })
  return {
    kind: 'encoder-probe',
    encoder: encoder.name,
    classes: data.classes,
    grid,
    trainImages: parts.train.length,
    testImages: parts.test.length,
    schedule,
    ...accuracy!,
  }
}
