import { mkdir } from 'node:fs/promises'
import { dirname } from 'node:path'
import * as z from 'zod'
import type { Dataset } from '../../src/data/dataset.ts'
import { imageGrid } from '../../src/data/grid.ts'
import { encodePng } from '../../src/data/png.ts'
import type { FeatureNetwork } from '../../src/evaluation/feature-network.ts'
import type { Gaussian } from '../../src/evaluation/feature-statistics.ts'
import { evaluateProbe } from '../../src/evaluation/probe.ts'
import { writeWhole } from '../../src/formats/atomic-file.ts'
import type { Device } from '../../src/tensor/device.ts'
import { loadModel } from '../../src/training/load-model.ts'
import { defaultPrecision, precisionPolicy } from '../../src/training/precision.ts'
import { generatedDistance } from './generated-distance.ts'
import { heldOutLoss } from './held-out-loss.ts'
import { writeJson } from './json-file.ts'
import type { Measures } from './sizes.ts'
import type { Stopwatch } from './stopwatch.ts'

/** What a run is worth at one step, of its averaged weights. */
export const measurementSchema = z.strictObject({
  step: z.int().positive(),
  /** Denoising loss of held-out images. */
  loss: z.number(),
  /** Fréchet distance of generated images from the training images, in the judge's features. */
  distance: z.number().nonnegative(),
  /** Linear probe of the middle block on test images, from 0 to 1. */
  accuracy: z.number().min(0).max(1),
})

export type Measurement = z.output<typeof measurementSchema>

/** Images of the picture that is kept with a measurement. */
const SHOWN = 10
const COLUMNS = 5

export interface MeasuringTools {
  readonly measures: Measures
  readonly train: Dataset
  readonly heldOut: Dataset
  readonly test: Dataset
  readonly judge: FeatureNetwork
  readonly reference: Gaussian
  readonly device: Device
  readonly stopwatch: Stopwatch
  readonly signal: AbortSignal
}

/** Measures a checkpoint and writes what was found. */
export async function measure(
  checkpoint: string,
  step: number,
  files: { readonly json: string; readonly picture: string },
  tools: MeasuringTools,
): Promise<Measurement> {
  const { measures, train, heldOut, test, judge, reference, device, stopwatch, signal } = tools
  const { batch, probe } = measures
  const { model } = await loadModel(checkpoint, { device })
  using loaded = model
  loaded.computeIn(precisionPolicy(defaultPrecision(device), device).dtype)
  const loss = await stopwatch.time('measure: held-out loss', () =>
    heldOutLoss(loaded, { data: heldOut, count: measures.heldOut, batch, signal }),
  )
  const { distance, images, shape } = await stopwatch.time('measure: Fréchet distance', () =>
    generatedDistance(loaded, {
      judge,
      reference,
      count: measures.samples,
      steps: measures.samplerSteps,
      batch,
      keep: SHOWN,
      signal,
    }),
  )
  const { points } = await stopwatch.time('measure: probe', () =>
    evaluateProbe({
      model: loaded,
      data: train,
      test,
      images: probe.images,
      layers: [probe.layer],
      noise: [probe.noise],
      schedule: { epochs: probe.epochs, batch: probe.batch, learningRate: probe.learningRate },
      path: 'linear',
      seed: 0,
      batch,
      signal,
    }),
  )
  const measurement = { step, loss, distance, accuracy: points[0]!.accuracy }
  const picture = imageGrid(images, shape, { columns: COLUMNS })
  await mkdir(dirname(files.picture), { recursive: true })
  await writeWhole(files.picture, encodePng(picture.data, picture.width, picture.height, 3))
  await writeJson(files.json, measurement)
  return measurement
}
