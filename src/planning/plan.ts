/** What a training takes, before anything of it is done. */
import { availableParallelism } from 'node:os'
import * as z from 'zod'
import { contrastedImages } from '../alignment/nt-xent.ts'
import { statedModels } from '../alignment/stated-encoder.ts'
import { GPUS, type Gpu, isHopper } from '../benchmark/gpus.ts'
import { parseConfiguration, whenNeeded } from '../configuration/parse.ts'
import { Dataset } from '../data/dataset.ts'
import { autoencoderOfName, latentsOf } from '../models/autoencoder-architecture.ts'
import { tokenGrid } from '../models/transformer-config.ts'
import { native } from '../native.ts'
import { memoryStats } from '../tensor/device.ts'
import { elementCount } from '../tensor/dtype.ts'
import type { Recomputation } from '../tensor/recomputation.ts'
import { encodersWithFeatures } from '../training/alignment-encoders.ts'
import { type TrainingConfiguration, trainingSchema } from '../training/configuration.ts'
import { requireOwners } from '../training/owned-settings.ts'
import { defaultPrecision, PRECISIONS, type Precision, precisionPolicy } from '../training/precision.ts'
import { requireEqualParts } from '../training/requirements.ts'
import { type DiskPlan, planDisk } from './disk.ts'
import { fewestPasses, fitStep, largestBatch, RESERVED_BYTES } from './fit.ts'
import { type MeasuredStep, measuredSteps } from './measurements.ts'
import { isEmbedder, type MemoryPlan, memoryPlan } from './memory.ts'
import { plannedEvaluations } from './planned-evaluations.ts'
import type { PlannedAutoencoder, PlannedStep } from './planned-step.ts'
import { type Recipe, type RecipeData, readRecipe } from './recipe.ts'
import { type RecipeCommands, recipeCommands } from './recipe-commands.ts'
import { type ExpectedSpeed, expectedSpeed } from './speed.ts'

export interface PlanOptions {
  /** The name of a recipe of the package, or a file. */
  readonly recipe: string
  /** A prepared data set, in whose place the recipe's description stands otherwise. */
  readonly data?: string
  /** Neither has to be here. Default: cuda. */
  readonly device?: 'cpu' | 'cuda'
  /** One of GPU_NAMES. Default: H100. */
  readonly gpu?: string
  /** How many of them share every batch (`--processes` of the training). Default: 1. */
  readonly gpus?: number
  readonly batch?: number
  readonly accumulate?: number
  readonly recompute?: TrainingConfiguration['recompute']
  readonly precision?: Precision
  readonly steps?: number
  /** Of the GPU's peak, from 0 to 1, in place of a measurement. */
  readonly shareOfPeak?: number
  /** In place of the package's own. */
  readonly measurements?: readonly MeasuredStep[]
}

const optionsSchema = whenNeeded(() => {
  /** A setting of the training, which its own schema checks. */
  const setting = z.unknown().optional()
  return z.strictObject({
    recipe: z.string(),
    data: z.string().optional(),
    device: z.enum(['cpu', 'cuda']).optional(),
    gpu: z.string().optional(),
    gpus: z.int().positive().optional(),
    batch: setting,
    accumulate: setting,
    recompute: setting,
    precision: z.enum(PRECISIONS).optional(),
    steps: setting,
    shareOfPeak: z.number().positive().max(1).optional(),
    measurements: z.array(z.looseObject({})).optional(),
  } satisfies Record<keyof PlanOptions, z.ZodType>)
})

export interface TrainingPlan {
  readonly recipe: string
  readonly title: string
  readonly device: 'cpu' | 'cuda'
  /** What is planned for: a GPU of the table, or this machine's CPU. */
  readonly machine: { readonly name: string; readonly memoryBytes: number; readonly threads: number | undefined }
  readonly model: string
  readonly precision: Precision
  readonly batch: number
  /** Passes in which a step goes through its batch. */
  readonly accumulate: number
  readonly steps: number
  /** GPUs, or 1 for a CPU, that share every batch. */
  readonly processes: number
  readonly data: Pick<RecipeData, 'name' | 'images' | 'classes' | 'size'> & {
    /** Whether the model is told captions, and no classes. */
    readonly withCaptions: boolean
  }
  readonly epochs: number
  readonly parameters: {
    readonly total: number
    readonly trunk: number
    readonly embedders: number
    readonly projectors: number
    /** Frozen ones that run, by their names. */
    readonly encoders: Readonly<Record<string, number>>
  }
  /** Encoders that do not run, for the data set that was given has their features. */
  readonly cachedEncoders: readonly string[]
  /** In sentences: which features the data set has in vain, and what of them could not be looked into. */
  readonly notices: readonly string[]
  /** Of each process. */
  readonly memory: MemoryPlan & {
    readonly fits: boolean
    /** What the backward pass computes again instead of keeping it: as asked for, or what is needed to fit. */
    readonly recompute: Recomputation
    /** What would be taken, had nothing been computed again. */
    readonly takenPlain: number
    /** The fewest passes in which this batch fits; undefined where it does already, or in none. */
    readonly fewestPasses: number | undefined
    /** The largest, of all processes, that fits in one pass; undefined where this one fits as it is, 0 where none does. */
    readonly largestBatch: number | undefined
  }
  /** Of one step, in all processes together. */
  readonly work: {
    readonly encoderFlops: number
    readonly forwardFlops: number
    readonly backwardFlops: number
    readonly flops: number
    readonly flopsPerImage: number
    /** Read and written by clipping, AdamW and EMA, in each process. */
    readonly optimizerBytes: number
    /** That each process sends, and receives, of gradients and then of weights: as in a ring of them, which is the least. */
    readonly exchangedBytes: number
  }
  readonly speed: ExpectedSpeed | undefined
  /** Until the last step, at that speed. Checkpoints, sample grids and waiting for the disk are not in it. */
  readonly seconds: number | undefined
  readonly disk: DiskPlan
  /** Of this training: with what was given in the recipe's place. */
  readonly commands: RecipeCommands
  /** Those of the recipe that the run keeps checkpoints for, and of its last step in any case. */
  readonly evaluations: Recipe['evaluations']
}

/** Refuses what is said of a GPU: a plan for a CPU would leave it out without a word. */
function requireNoGpu({ gpu, gpus = 1, shareOfPeak }: PlanOptions): void {
  if (gpus > 1) throw new Error('A CPU trains in one process, which uses all cores; leave the number of GPUs out.')
  if (gpu !== undefined) throw new Error(`The plan is for a CPU; leave the GPU out (${gpu}).`)
  if (shareOfPeak !== undefined) {
    throw new Error("A CPU's speed is taken from measurements; leave the share of a GPU's peak out.")
  }
}

/**
 * Plans a recipe: builds its model, encoders and optimizer at full size on the planning device, makes a step there, and says what that
 * takes. Needs neither the device nor the data, takes no memory worth speaking of, and loads the addon only to ask for this machine's memory
 * and threads, with `device` cpu.
 *
 * @throws {ConfigurationError} for options that are none; {Error} for an unknown recipe or GPU, and for settings that a training would refuse
 */
export async function planTraining(options: PlanOptions): Promise<TrainingPlan> {
  parseConfiguration(optionsSchema(), options, 'the options of plan')
  const { device = 'cuda', shareOfPeak, gpus: processes = 1 } = options
  if (device === 'cpu') requireNoGpu(options)
  const recipe = await readRecipe(options.recipe)
  const where = device === 'cuda' ? 'cuda:0' : 'cpu'
  const gpu = gpuOf(options.gpu ?? 'H100')
  const precision = precisionPolicy(
    options.precision ?? recipe.training.precision ?? defaultPrecision(where),
    where,
  ).name
  const settings = Object.fromEntries(
    Object.entries({
      batch: options.batch,
      accumulate: options.accumulate,
      recompute: options.recompute,
      precision: options.precision,
      steps: options.steps,
    }).filter(([, value]) => value !== undefined),
  )
  const training = parseConfiguration(trainingSchema, { ...recipe.training, ...settings, precision }, recipe.path)
  requireOwners(recipe.training, training, 'a file')
  requireEqualParts({ ...training, processes })
  const captions = training.captionEncoder !== undefined
  const images = options.data === undefined ? describedData(recipe) : await Dataset.open(options.data, { captions })
  const autoencoder = autoencoderOf(recipe)
  const data = autoencoder ? images.encoded({ name: autoencoder.name, ...latentsOf(autoencoder.architecture) }) : images
  const threads = device === 'cuda' ? availableParallelism() : native().cpuInfo().threads
  const memoryBytes = device === 'cuda' ? gpu.memoryGiB * 2 ** 30 - RESERVED_BYTES : memoryStats('cpu').limitBytes
  const models = await statedModels(training.encoders)
  const notices: string[] = []
  const cachedEncoders = await encodersWithFeatures(training, data, (sentence) => notices.push(sentence))
  const stepOf = (change: Partial<Pick<TrainingConfiguration, 'batch' | 'accumulate'>>) => ({
    configuration: { ...training, ...change, precision },
    processes,
    data,
    cachedEncoders,
    statedModels: models,
    autoencoder,
    device: where,
    machine: { threads, multiprocessors: gpu.multiprocessors, isHopper: isHopper(gpu) },
  })
  const own = training.batch / processes
  const asked = stepOf({})
  const { step, recompute, fits, plainBytes } = fitStep(asked, memoryBytes)
  const model = typeof training.model === 'string' ? training.model : `${step.model.kind} of free sizes`
  const work = workOf(step, own, processes)
  const speed = expectedSpeed(
    {
      model,
      size: data.imageSize,
      batch: own,
      device,
      precision,
      gpu,
      processes,
      share: shareOfPeak,
      flopsPerImage: work.flopsPerImage,
      trainingFlopsPerImage: (work.forwardFlops + work.backwardFlops) / training.batch,
    },
    options.measurements ?? (await measuredSteps()),
  )
  return {
    recipe: recipe.name,
    title: recipe.title,
    device,
    machine: {
      name: device === 'cuda' ? gpu.name : 'CPU',
      memoryBytes,
      threads: device === 'cpu' ? threads : undefined,
    },
    model,
    precision,
    batch: training.batch,
    accumulate: training.accumulate,
    steps: training.steps,
    processes,
    data: {
      name: options.data ?? recipe.data.name,
      images: data.length,
      classes: data.classes,
      size: data.imageSize,
      withCaptions: training.captionEncoder !== undefined,
    },
    epochs: (training.steps * training.batch) / data.length,
    parameters: parametersOf(step),
    cachedEncoders,
    notices,
    memory: {
      ...memoryPlan(step),
      fits,
      recompute,
      takenPlain: plainBytes,
      fewestPasses: fits ? undefined : fewestPasses(asked, memoryBytes),
      largestBatch: fits
        ? undefined
        : processes *
          largestBatch((batch) => fitStep(stepOf({ batch: processes * batch, accumulate: 1 }), memoryBytes).fits, {
            most: own,
            // Groups that NT-Xent contrasts are not cut among processes.
            unit: training.alignLoss === 'nt-xent' && processes > 1 ? contrastedImages(step.sequenceTokens) : 1,
          }),
    },
    work,
    speed,
    seconds: speed && (training.steps * training.batch) / speed.imagesPerSecond,
    disk: diskOf(step, training, data),
    commands: recipeCommands(recipe, { config: options.recipe, data: options.data, device, processes, settings }),
    evaluations: plannedEvaluations(recipe, training.steps),
  }
}

function gpuOf(name: string): Gpu {
  const gpu = GPUS.find((entry) => entry.name.toLowerCase() === name.toLowerCase())
  if (gpu) return gpu
  throw new Error(`There is no GPU "${name}" to plan for; there are ${GPUS.map((entry) => entry.name).join(', ')}.`)
}

function describedData({ path, data }: Recipe): Dataset {
  const { images, classes, size, latents, deviations, flip, captions } = data
  const stored = { storedLatentShape: latents, hasDeviations: deviations }
  return Dataset.described({
    path,
    length: images,
    classes,
    imageSize: size,
    ...stored,
    flip,
    captions: captions !== undefined,
  })
}

/** What makes the latents as the run trains. */
function autoencoderOf({ data: { autoencoder: name } }: Recipe): PlannedAutoencoder | undefined {
  return name && { name, architecture: autoencoderOfName(name) }
}

function parametersOf({ parameters, encoders }: PlannedStep): TrainingPlan['parameters'] {
  const sum = (wanted: (part: string) => boolean) =>
    [...parameters].reduce((total, [part, count]) => total + (wanted(part) ? count : 0), 0)
  const isProjector = (part: string) => part === 'projectors'
  return {
    total: sum(() => true),
    trunk: sum((part) => !isEmbedder(part) && !isProjector(part)),
    embedders: sum(isEmbedder),
    projectors: sum(isProjector),
    encoders: Object.fromEntries(encoders),
  }
}

function workOf(step: PlannedStep, batch: number, processes: number): TrainingPlan['work'] {
  const { encoder, forward, backward } = step.flops
  const total = encoder + forward + backward
  return {
    encoderFlops: processes * encoder,
    forwardFlops: processes * forward,
    backwardFlops: processes * backward,
    flops: processes * total,
    flopsPerImage: total / batch,
    optimizerBytes: step.optimizerTraffic,
    exchangedBytes: ((2 * (processes - 1)) / processes) * memoryPlan(step).gradients,
  }
}

function diskOf({ model, entries }: PlannedStep, training: TrainingConfiguration, data: Dataset): DiskPlan {
  const { steps, checkpointEvery, resumeEvery, sampleEvery, samples } = training
  const count = (wanted: (entry: PlannedStep['entries'][number]) => boolean) =>
    entries.filter(wanted).reduce((sum, { shape }) => sum + elementCount(shape), 0)
  const [rows, columns] = tokenGrid(model)
  return planDisk({
    images: data.length,
    size: data.imageSize,
    latents: data.latentKind === 'pixels' || data.encodedBy !== undefined ? undefined : data.storedLatentShape,
    flip: data.flip,
    features: model.alignWidths.map((width) => ({ tokens: rows * columns, width })),
    parameters: count(() => true),
    trainable: count(({ parameter }) => parameter.trainable),
    gridImages: samples.count,
    steps,
    checkpointEvery,
    resumeEvery,
    sampleEvery,
  })
}
