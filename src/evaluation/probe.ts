import type { Encoder } from '../alignment/encoder.ts'
import type { Dataset } from '../data/dataset.ts'
import { KeyedPermutation } from '../data/permutation.ts'
import type { Autoencoder } from '../models/autoencoder.ts'
import type { AnyTransformer } from '../models/transformer-kinds.ts'
import type { InterpolantPath } from '../native.ts'
import type { CaptionEncoder } from '../text/caption-encoder.ts'
import { blockFeatures } from './block-features.ts'
import { requireProbeOptions } from './evaluation-options.ts'
import { requireFeatureMemory } from './feature-memory.ts'
import { type ProbeAccuracy, type ProbeSchedule, type ProbeSet, scheduleOf, trainProbes } from './linear-probe.ts'

/** The epoch whose permutation splits a data set: none that a training reaches. */
const SPLIT = 2 ** 40
/** The share of a data set that is held out where there is no other to test on. */
const HELD_OUT = 0.2

/** Which images a probe is trained and tested on. */
export interface ProbeImages {
  readonly data: Dataset
  /** What the probes are tested on. Default: a fifth of `data`, drawn by the seed, which is then left out of the training. */
  readonly test?: Dataset | undefined
  /** At most so many images of `data` are used. Default: all. */
  readonly images?: number | undefined
  readonly seed: number
}

export interface EvaluateProbeOptions extends ProbeImages {
  readonly model: AnyTransformer
  /** Makes the latents of the images, in place of those that the data hold. */
  readonly autoencoder?: Autoencoder | undefined
  /** Of a model that denoises a class token along (REG): whose class token that is. */
  readonly classTokenEncoder?: Encoder | undefined
  /** Of a model of text: what encodes its captions. */
  readonly captionEncoder?: CaptionEncoder | undefined
  /** Blocks, from 1. Default: every block. */
  readonly layers?: readonly number[] | undefined
  /** Noise levels from 0 to 1: see `noisyInput`. Default: 0, the data itself. */
  readonly noise?: readonly number[] | undefined
  readonly path: InterpolantPath
  readonly schedule?: Partial<ProbeSchedule> | undefined
  /** Images that pass through the model at a time. */
  readonly batch: number
  readonly signal?: AbortSignal | undefined
  /** `features`: images; `probes`: epochs. Called with 0 as each is begun. */
  readonly onProgress?: (stage: 'features' | 'probes', noise: number, done: number, total: number) => void
}

/** One point of the curve. */
export interface ProbePoint extends ProbeAccuracy {
  readonly layer: number
  readonly noise: number
}

export interface ProbeResult {
  readonly kind: 'probe'
  readonly classes: number
  readonly layers: readonly number[]
  readonly noise: readonly number[]
  readonly trainImages: number
  readonly testImages: number
  readonly schedule: ProbeSchedule
  readonly points: readonly ProbePoint[]
}

/**
 * The parts of the images that are trained and tested on, by their places.
 *
 * @throws Error where either has none, or those that are tested on are of other classes or another size
 */
export function probeSplit({ data, test, images, seed }: ProbeImages): { train: Int32Array; test: Int32Array } {
  if (test) requireComparableSets(data, test)
  const order = new KeyedPermutation(data.length, seed, SPLIT)
  const drawn = Int32Array.from({ length: Math.min(images ?? data.length, data.length) }, (_, i) => order.at(i))
  const held = Math.round(drawn.length * HELD_OUT)
  const parts = test
    ? { train: drawn, test: Int32Array.from({ length: test.length }, (_, i) => i) }
    : { test: drawn.subarray(0, held), train: drawn.subarray(held) }
  if (parts.train.length > 0 && parts.test.length > 0) return parts
  throw new Error(
    `There are ${parts.train.length} images to train probes on and ${parts.test.length} to test them on; expected more.`,
  )
}

/** A set in which a class has no images may have its other classes at other indices; by names alone that can be told. */
function requireComparableSets(data: Dataset, test: Dataset): void {
  const rule = 'probes are tested on the classes that they were trained on.'
  const moved = test.classNames?.findIndex((name, i) => (data.classNames?.[i] ?? name) !== name) ?? -1
  if (moved >= 0) {
    throw new Error(
      `Class ${moved} is '${test.classNames![moved]}' in '${test.path}' and '${data.classNames![moved]}' in '${data.path}'; ${rule}`,
    )
  }
  if (test.classes > data.classes) {
    throw new Error(`'${test.path}' has ${test.classes} classes and '${data.path}' ${data.classes}; ${rule}`)
  }
  if (test.hasImages && data.hasImages && test.imageSize !== data.imageSize) {
    throw new Error(
      `The images in '${test.path}' have ${test.imageSize} pixels a side, those in '${data.path}' ${data.imageSize}; prepare both to one size.`,
    )
  }
}

/**
 * How much of the class a model's layers know: the accuracy of linear classifiers on their outputs, averaged over the tokens, by layer
 * and noise level (REPA, figures 2 and 3; no code of theirs was released). The model is told no class. Features are held in memory:
 * images × layers × width floats, on the CPU those that are trained on twice.
 *
 * @throws {ConfigurationError} for options that are none; {Error} where that is more memory than there is, and as `probeSplit` and
 *   `blockFeatures` do
 */
export async function evaluateProbe(options: EvaluateProbeOptions): Promise<ProbeResult> {
  requireProbeOptions(options)
  const { model, data, test = data, noise = [0], seed, signal, onProgress } = options
  const layers = options.layers ?? Array.from({ length: model.config.depth }, (_, i) => i + 1)
  const schedule = scheduleOf(options.schedule)
  const parts = probeSplit(options)
  requireFeatureMemory(parts, { layers: layers.length, width: model.config.hidden, device: model.device })
  const { classes } = data
  const points: ProbePoint[] = []
  for (const level of noise) {
    const total = parts.train.length + parts.test.length
    let done = 0
    onProgress?.('features', level, 0, total)
    const featuresOf = async (dataset: Dataset, indices: Int32Array, firstSeed: number): Promise<ProbeSet> => {
      const width = model.config.hidden
      const set = {
        layers: layers.map(() => new Float32Array(indices.length * width)),
        labels: new Int32Array(indices.length),
        width,
      }
      let at = 0
      const batches = blockFeatures({ ...options, data: dataset, indices, layers, noise: level, seed: firstSeed })
      for await (const batch of batches) {
        set.labels.set(batch.labels, at)
        batch.layers.forEach((features, layer) => {
          set.layers[layer]!.set(features, at * width)
        })
        at += batch.labels.length
        done += batch.labels.length
        onProgress?.('features', level, done, total)
      }
      return set
    }
    const train = await featuresOf(data, parts.train, seed)
    // Other noise than that of the training images.
    const tested = await featuresOf(test, parts.test, seed + 1)
    onProgress?.('probes', level, 0, schedule.epochs)
    const accuracies = await trainProbes({
      train,
      test: tested,
      classes,
      schedule,
      seed,
      device: model.device,
      signal,
      onEpoch: (epoch) => onProgress?.('probes', level, epoch, schedule.epochs),
    })
    accuracies.forEach((accuracy, i) => {
      points.push({ layer: layers[i]!, noise: level, ...accuracy })
    })
  }
  const { length: trainImages } = parts.train
  return { kind: 'probe', classes, layers, noise, trainImages, testImages: parts.test.length, schedule, points }
}
