import { mkdir, readdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { DEMO_CLASSES, writeDemoImages } from './data/demo-images.ts'
import { prepareDataset } from './data/prepare.ts'
import { sampleToFolder } from './diffusion/sample-to-folder.ts'
import type { Device } from './tensor/device.ts'
import type { TrainingOptions } from './training/configuration.ts'
import { loadModel } from './training/load-model.ts'
import { train } from './training/run.ts'
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
  readonly onNotice?: (sentence: string) => void
}

export interface DemoResult {
  readonly run: string
  readonly steps: number
  readonly grid: string
}

const SIZE = 32
const IMAGES_PER_CLASS = 200
const SAMPLES_PER_CLASS = 5
const BATCH = 16
/** A step limit that no minute reaches: the demo is limited by its time. */
const STEPS = 1_000_000

/** A model that learns the demo's shapes within two minutes on two cores. */
const CONFIGURATION: TrainingOptions = {
  model: { kind: 'SiT', depth: 6, hidden: 192, heads: 3, patch: 4 },
  encoders: [{ name: 'hog' }],
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
 * encoder, sample a grid of every class. Leaves `OUT/data`, `OUT/run` (for `renderReport`) and `OUT/samples`.
 */
export async function demo(options: DemoOptions): Promise<DemoResult> {
  const { out, device, seed = 0, minutes = 1.5, signal, onPhase, onStep, onNotice } = options
  const [drawn, data, run] = [join(out, 'drawn'), join(out, 'data'), join(out, 'run')]
  const samples = join(out, 'samples')
  await claimFolder(out)
  await Promise.all([drawn, data, run, samples].map((path) => rm(path, { recursive: true, force: true })))

  onPhase?.(`drawing ${IMAGES_PER_CLASS * DEMO_CLASSES.length} images of ${DEMO_CLASSES.length} classes`)
  await writeDemoImages(drawn, { perClass: IMAGES_PER_CLASS, size: SIZE, seed })
  await prepareDataset({ source: drawn, out: data, size: SIZE, signal })
  await rm(drawn, { recursive: true, force: true })

  onPhase?.(`training a small SiT with REPA (encoder: hog) for ${minutes} minutes`)
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
    onNotice: (sentence) => {
      if (signal?.aborted) onNotice?.(sentence)
    },
  })
  signal?.throwIfAborted()

  onPhase?.(`sampling ${SAMPLES_PER_CLASS} of every class after ${result.step} steps`)
  const grid = join(run, 'samples', `${String(result.step).padStart(7, '0')}.png`)
  const { model } = await loadModel(run, { device })
  using loaded = model
  await sampleToFolder(loaded, {
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
    columns: DEMO_CLASSES.length,
    signal,
  })
  return { run, steps: result.step, grid }
}

/** Makes sure that clearing the folder takes nothing away that no demo made. */
async function claimFolder(out: string): Promise<void> {
  await mkdir(out, { recursive: true })
  const names = await readdir(out)
  if (names.includes(MARK)) return
  if (names.length > 0) {
    throw new Error(`${out} is not empty and no earlier demo made it (it holds ${names[0]}); choose a new --out.`)
  }
  await writeFile(join(out, MARK), 'repa demo replaces the contents of this folder.\n')
}
