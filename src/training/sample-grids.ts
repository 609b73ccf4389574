/** What a model in training makes of the same noise every time: the grids `samples/STEP.png` of a run's folder. */
import { join } from 'node:path'
import type { Dataset } from '../data/dataset.ts'
import { imageGrid } from '../data/grid.ts'
import { encodePng } from '../data/png.ts'
import { sampleImages } from '../diffusion/sample-images.ts'
import { writeWhole } from '../formats/atomic-file.ts'
import { isThere } from '../formats/if-there.ts'
import { makeFolder } from '../formats/make-folder.ts'
import type { Autoencoder } from '../models/autoencoder.ts'
import { NotFiniteError } from '../models/not-finite-error.ts'
import { allowTf32Meanwhile } from '../tensor/device.ts'
import type { CaptionEncoder } from '../text/caption-encoder.ts'
import { EMPTY_CAPTION } from '../text/encoded-captions.ts'
import type { TrainingConfiguration } from './configuration.ts'
import type { MetricsLog } from './metrics.ts'
import { defaultPrecision, precisionPolicy } from './precision.ts'
import { gridName, RUN_LAYOUT } from './run-layout.ts'
import type { Trainer } from './trainer.ts'

const samplesFile = (out: string, step: number) => join(out, RUN_LAYOUT.samples, gridName(step))

/** Whether a run's folder has the grid of a step. */
export function hasSamples(out: string, step: number): Promise<boolean> {
  return isThere(samplesFile(out, step))
}

/** What the grids of samples take besides the model. */
export interface SampledBy {
  readonly autoencoder: Autoencoder | undefined
  readonly captionEncoder: CaptionEncoder | undefined
}

/** The first captions of images at even distances, for neighbours may be of one kind. */
function shownCaptions({ captions, length }: Dataset, count: number): string[] {
  return Array.from({ length: count }, (_, i) => captions![Math.floor((i * length) / count)]![0] ?? EMPTY_CAPTION)
}

/** The grid `samples/STEP.png`: EMA weights, evaluation mode, the same noise and classes or captions every time. */
export async function writeSamples(
  { model, data, step }: Trainer,
  { samples, path, seed, precision }: TrainingConfiguration,
  out: string,
  log: MetricsLog,
  { signal, onNotice }: { signal: AbortSignal | undefined; onNotice: ((sentence: string) => void) | undefined },
  { autoencoder, captionEncoder }: SampledBy,
): Promise<void> {
  // Guidance needs the null class, which a model trained without label dropout has not.
  const scale = model.config.classDropout > 0 ? samples.guidanceScale : 1
  const { tf32 } = precisionPolicy(precision ?? defaultPrecision(model.device), model.device)
  using _products = allowTf32Meanwhile(model.device, tf32)
  using _average = model.arena.useMeanwhile('ema')
  try {
    const images: Uint8Array[] = []
    let size = { height: 0, width: 0 }
    for await (const batch of sampleImages(model, {
      ...(captionEncoder
        ? { prompts: { encoder: captionEncoder, captions: shownCaptions(data, samples.count) } }
        : { labels: Int32Array.from({ length: samples.count }, (_, i) => i % model.config.classes) }),
      seed,
      batch: samples.count,
      ...(model.config.kind === 'DiT' ? { mode: 'ddpm' } : { mode: 'ode', path }),
      steps: samples.steps,
      guidance: { scale, low: 0, high: 1 },
      autoencoder,
      signal,
    })) {
      images.push(batch.images)
      size = batch
    }
    const grid = imageGrid(Buffer.concat(images), [samples.count, size.height, size.width, 3])
    const png = encodePng(grid.data, grid.width, grid.height, 3)
    await makeFolder(join(out, RUN_LAYOUT.samples))
    await writeWhole(samplesFile(out, step), png)
    log.image('samples', png, step)
  } catch (error) {
    if (signal?.aborted) return
    // No reason to end a training: its own steps are looked at one by one.
    if (!(error instanceof NotFiniteError)) throw error
    onNotice?.(`There is no grid of samples of step ${step}: ${error.message}`)
  }
}
