import { readdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import * as z from 'zod'
import { loadEncoder } from './alignment/encoders.ts'
import { aFunction, aSignal } from './configuration/callbacks.ts'
import { parseConfiguration, whenNeeded } from './configuration/parse.ts'
import { Dataset } from './data/dataset.ts'
import { DEMO_CLASSES, writeDemoImages } from './data/demo-images.ts'
import { prepareDataset } from './data/prepare.ts'
import { sampleToFolder } from './diffusion/sample-to-folder.ts'
import { readSamplingRecord } from './diffusion/sampling-record.ts'
import { type CknnaResult, evaluateCknna } from './evaluation/cknna.ts'
import { compareImages, type ImageComparison } from './evaluation/compare-images.ts'
import { writeRecord } from './evaluation/evaluation-record.ts'
import { loadFeatureNetwork } from './evaluation/feature-network.ts'
import { evaluateProbe, type ProbeResult } from './evaluation/probe.ts'
import { FolderInUse } from './formats/folder-in-use.ts'
import { makeFolder } from './formats/make-folder.ts'
import type { Device } from './tensor/device.ts'
import type { TrainingOptions } from './training/configuration.ts'
import { type LoadedModel, loadModel } from './training/load-model.ts'
import { train } from './training/run.ts'
import { gridName, RUN_LAYOUT } from './training/run-layout.ts'
import type { TrainingStep } from './training/trainer-options.ts'

export interface DemoOptions {
  /** Folder for everything: new, empty, or that of an earlier demo, which it replaces. */
  readonly out: string
  readonly device: Device
  readonly seed?: number
  /** Time for the training, in minutes. Default 1.5. */
  readonly minutes?: number
  readonly signal?: AbortSignal
  /** Called as each part begins. */
  readonly onPhase?: (sentence: string) => void
  readonly onStep?: (step: TrainingStep, secondsLeft: number) => void
  /** Things to tell the user of the training: a sentence each. */
  readonly onNotice?: (sentence: string) => void
}

const optionsSchema = whenNeeded(() =>
  z.strictObject({
    out: z.string(),
    device: z.string(),
    seed: z.int().min(0).optional(),
    minutes: z.number().positive().optional(),
    signal: aSignal().optional(),
    onPhase: aFunction().optional(),
    onStep: aFunction().optional(),
    onNotice: aFunction().optional(),
  } satisfies Record<keyof DemoOptions, z.ZodType>),
)

export interface DemoResult {
  readonly run: string
  readonly steps: number
  readonly grid: string
  readonly evaluation: DemoEvaluation
}

/** What the demo measures. The first three are also in `RUN/evaluation/`, where a report finds them. */
export interface DemoEvaluation {
  /** The samples against the images that were trained on, in the features of hog. */
  readonly samples: ImageComparison
  readonly probe: ProbeResult
  readonly cknna: CknnaResult
  /** As many newly drawn images against those that were trained on: what samples that are as good as drawn would get. */
  readonly drawn: ImageComparison
}

const SIZE = 32
const IMAGES_PER_CLASS = 200
/** More than hog has features, so that the covariance is not singular; of held-out images as many. */
const SAMPLES_PER_CLASS = 20
/** Of the picture of samples. */
const ROWS = 5
const BATCH = 16
const ENCODER = 'hog'
const NOISE = [0, 0.5]
const CKNNA_IMAGES = 500
/** A step limit that no minute reaches: the demo is limited by its time. */
const STEPS = 1_000_000

/** A model that learns the demo's shapes within two minutes on two cores. */
const CONFIGURATION: TrainingOptions = {
  model: { kind: 'SiT', depth: 6, hidden: 192, heads: 3, patch: 4 },
  encoders: [{ name: ENCODER }],
  steps: STEPS,
  batch: BATCH,
  // Larger and shorter-remembering than the paper's (1e-4, 0.9999), which are for hundreds of thousands of steps.
  learningRate: 1.5e-3,
  emaDecay: 0.99,
  projectorWidth: 256,
  checkpointEvery: STEPS,
  sampleEvery: 100,
  samples: { count: 20, steps: 10, guidanceScale: 2.5 },
}

/** Stands in a folder that the demo may clear. */
const MARK = 'made-by-repa-demo'

/**
 * The whole job on a small image set that the package draws itself: prepare, train a small SiT aligned with the built-in
 * encoder, sample every class, evaluate. Leaves `OUT/data`, `OUT/held-out` (images that were not trained on), `OUT/run` (for
 * `renderReport`) and `OUT/samples`.
 */
export async function demo(options: DemoOptions): Promise<DemoResult> {
  parseConfiguration(optionsSchema(), options, 'the options of demo')
  const { out, device, seed = 0, minutes = 1.5, signal, onPhase, onStep, onNotice } = options
  const [data, heldOut, run] = [join(out, 'data'), join(out, 'held-out'), join(out, 'run')]
  const samples = join(out, 'samples')
  await claimFolder(out)
  await using _held = await FolderInUse.take(out)
  await Promise.all([data, heldOut, run, samples].map((path) => rm(path, { recursive: true, force: true })))

  onPhase?.(`drawing ${IMAGES_PER_CLASS * DEMO_CLASSES.length} images of ${DEMO_CLASSES.length} classes`)
  await drawDataset(data, { perClass: IMAGES_PER_CLASS, seed, signal })
  await drawDataset(heldOut, { perClass: SAMPLES_PER_CLASS, seed: seed + 1, signal })

  onPhase?.(`training a small SiT with REPA (encoder: ${ENCODER}) for ${minutes} minute${minutes === 1 ? '' : 's'}`)
  const seconds = minutes * 60
  const time = new AbortController()
  const either = signal ? AbortSignal.any([signal, time.signal]) : time.signal
  const result = await train({
    data,
    out: run,
    device,
    configuration: { ...CONFIGURATION, seed },
    signal: either,
    onStep: (step) => {
      onStep?.(step, Math.max(0, seconds - step.seconds))
      if (step.seconds >= seconds) time.abort()
    },
    onNotice: (sentence) => onNotice?.(sentence),
  })
  signal?.throwIfAborted()

  onPhase?.(`sampling ${SAMPLES_PER_CLASS} of every class after ${result.step} steps`)
  const grid = join(run, RUN_LAYOUT.samples, gridName(result.step))
  const loaded = await loadModel(run, { device })
  using model = loaded.model
  await sampleToFolder(model, {
    folder: samples,
    count: SAMPLES_PER_CLASS * DEMO_CLASSES.length,
    classes: DEMO_CLASSES.map((_, label) => label),
    seed,
    batch: 50,
    mode: 'ode',
    solver: 'heun',
    steps: 10,
    guidance: { scale: 2.5, low: 0, high: 1 },
    grid,
    gridCount: ROWS * DEMO_CLASSES.length,
    columns: DEMO_CLASSES.length,
    origin: { checkpoint: run, step: result.step, weights: 'ema', precision: 'fp32' },
    signal,
  })

  onPhase?.('evaluating the samples and what the layers know')
  const evaluation = await evaluate(loaded, { data, heldOut, run, samples, device, seed, signal })
  return { run, steps: result.step, grid, evaluation }
}

/** Draws images and prepares them for training; OUT may not be there. */
async function drawDataset(
  out: string,
  { perClass, seed, signal }: { perClass: number; seed: number; signal: AbortSignal | undefined },
): Promise<void> {
  const drawn = `${out}-drawn`
  try {
    await writeDemoImages(drawn, { perClass, size: SIZE, seed })
    await prepareDataset({ source: drawn, out, size: SIZE, signal })
  } finally {
    await rm(drawn, { recursive: true, force: true })
  }
}

interface EvaluationFolders {
  readonly data: string
  readonly heldOut: string
  readonly run: string
  readonly samples: string
}

/** Measures samples and layers, and leaves for the report what `repa evaluate … --out` would. */
async function evaluate(
  { model, path = 'linear', step }: LoadedModel,
  {
    data,
    heldOut,
    run,
    samples,
    device,
    seed,
    signal,
  }: EvaluationFolders & { device: Device; seed: number; signal: AbortSignal | undefined },
): Promise<DemoEvaluation> {
  const reference = join(data, 'images')
  using network = await loadFeatureNetwork(ENCODER, undefined, { device })
  const compared = await compareImages({ reference, samples, network, signal })
  const drawn = await compareImages({ reference, samples: join(heldOut, 'images'), network, signal })

  using encoder = await loadEncoder(ENCODER, undefined, { device })
  const dataset = await Dataset.open(data)
  const looking = { model, data: dataset, path, seed, batch: 64, noise: NOISE, signal }
  const probe = await evaluateProbe({ ...looking, test: await Dataset.open(heldOut) })
  const cknna = await evaluateCknna({ ...looking, encoder, images: CKNNA_IMAGES })

  const about = { checkpoint: run, step, data }
  const sampled = await readSamplingRecord(samples)
  await writeRecord(join(run, RUN_LAYOUT.evaluation, 'fid.json'), {
    kind: 'fid',
    ...sampled,
    reference,
    samples,
    ...compared,
  })
  await writeRecord(join(run, RUN_LAYOUT.evaluation, 'probe.json'), { ...about, ...probe })
  await writeRecord(join(run, RUN_LAYOUT.evaluation, 'cknna.json'), { ...about, ...cknna })
  return { samples: compared, probe, cknna, drawn }
}

/** Makes sure that clearing the folder takes nothing away that no demo made. */
async function claimFolder(out: string): Promise<void> {
  await makeFolder(out)
  const names = await readdir(out)
  if (names.includes(MARK)) return
  if (names.length > 0) {
    throw new Error(`${out} is not empty and no earlier demo made it (it holds ${names[0]}); choose a new \`out\`.`)
  }
  await writeFile(join(out, MARK), 'repa demo replaces the contents of this folder.\n')
}
