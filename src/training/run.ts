/**
 * A training run in a folder: `config.json`, `metrics.jsonl`, TensorBoard events, `checkpoints/STEP/`, `samples/STEP.png`.
 */
import { join } from 'node:path'
import { parseConfiguration } from '../configuration/parse.ts'
import { Dataset } from '../data/dataset.ts'
import { requireAlike } from '../distributed/require-alike.ts'
import { ALONE, StepImpossible, type World } from '../distributed/world.ts'
import { removeLeftovers, writeWhole } from '../formats/atomic-file.ts'
import { FolderInUse } from '../formats/folder-in-use.ts'
import { makeFolder } from '../formats/make-folder.ts'
import type { Autoencoder } from '../models/autoencoder.ts'
import { type AnyTransformer, transformerConfigSchema, transformerFromConfig } from '../models/transformer-kinds.ts'
import type { Device } from '../tensor/device.ts'
import type { Recomputation } from '../tensor/recomputation.ts'
import type { CaptionEncoder } from '../text/caption-encoder.ts'
import { loadCaptionEncoder } from '../text/load-caption-encoder.ts'
import { disposeEncoders, openEncoders } from './alignment-encoders.ts'
import { alignmentOf, requireConsistentAlignment } from './alignment-settings.ts'
import { type AlignmentEncoder, isCached } from './cached-encoder.ts'
import { newestCheckpoint, tidyCheckpoints } from './checkpoint-files.ts'
import {
  alignDepthOf,
  sizesOf,
  type TrainingConfiguration,
  type TrainingOptions,
  trainingSchema,
} from './configuration.ts'
import { restoreNewest } from './damaged-checkpoint.ts'
import { loadInitialWeights, settingsOfWeights } from './initial-weights.ts'
import { logUnreported } from './log-unreported.ts'
import { MetricsLog } from './metrics.ts'
import { defaultPrecision, type Precision } from './precision.ts'
import { requireEqualParts } from './requirements.ts'
import { digestOfLatents, openAutoencoder, tellingStatistics } from './run-autoencoder.ts'
import { digestOfCaptions } from './run-captions.ts'
import { givenSettings, requireNoRun, resolveConfiguration, type StoredConfiguration } from './run-configuration.ts'
import { RUN_LAYOUT } from './run-layout.ts'
import { hasSamples, type SampledBy, writeSamples } from './sample-grids.ts'
import { saveOnFailure } from './save-on-failure.ts'
import { requireTrainOptions } from './train-settings.ts'
import { Trainer } from './trainer.ts'
import type { TrainingStep } from './trainer-options.ts'
import { trainerSettings } from './trainer-settings.ts'

export interface TrainOptions {
  /** Folder of a prepared data set, or of LightningDiT's latents. */
  readonly data: string
  /** The run's folder. */
  readonly out: string
  /** What is said of this training; the rest is as in `shared`, and then the reference's. */
  readonly configuration: TrainingOptions
  /**
   * What a file says that is for several trainings: it may have the weight and the block of an alignment though this one names no encoder,
   * which `configuration` may not. Default: nothing.
   */
  readonly shared?: TrainingOptions
  /** Go on from the newest whole checkpoint of `out`; then `configuration` may only change how long and how often. */
  readonly resume?: boolean
  readonly device: Device
  /**
   * The processes that train together, all with the same options but for the device; process 0 writes the run's folder. Default: this one
   * alone.
   */
  readonly world?: World
  /**
   * What `recompute: 'auto'` comes to for a step of this configuration, telling the user where it is something. Default, of the function that
   * the library exports: by the memory that there is, as planning/fit.ts plans it.
   */
  readonly fit?: (request: FitRequest) => Promise<Recomputation>
  readonly signal?: AbortSignal
  readonly onStart?: (run: TrainingRun) => void
  /** The run waits for what it promises. What it throws ends the run, once that is saved. */
  readonly onStep?: (step: TrainingStep) => unknown
  /** Called before a grid of samples is made, which may take longer than many steps: after which step, and of how many images. */
  readonly onSampling?: (grid: { readonly step: number; readonly count: number }) => unknown
  /** Called when that has ended, also where it failed. */
  readonly onSampled?: () => unknown
  /** Things to tell the user: a sentence each. */
  readonly onNotice?: (sentence: string) => void
}

export interface FitRequest {
  readonly configuration: TrainingConfiguration & { readonly precision: Precision }
  readonly data: Dataset
  /** Encoders whose features are read from the data set. */
  readonly cachedEncoders: readonly string[]
  /** What makes the latents of every batch; undefined: they are read. */
  readonly autoencoder?: Pick<Autoencoder, 'name' | 'architecture'> | undefined
  /** Of what encodes captions. */
  readonly captionEncoder?: CaptionEncoder['config'] | undefined
  readonly device: Device
  /** Processes that share the batch. */
  readonly processes: number
  readonly onNotice: (sentence: string) => void
}

export interface TrainingRun {
  readonly configuration: TrainingConfiguration
  readonly model: AnyTransformer
  readonly data: Dataset
  /** Encoders whose features are read from the data set, so that they do not run. */
  readonly cachedEncoders: readonly string[]
  /** Name of what encodes captions, of a model of text. */
  readonly captionEncoder: string | undefined
  /** The weights that it begins from, for people: file, or checkpoint with what of it and its step. Undefined: drawn, or resumed. */
  readonly begunFrom: string | undefined
  /** Steps already made, when resumed. */
  readonly step: number
}

export interface TrainResult {
  readonly step: number
  readonly checkpoint: string
  /** Whether the signal, or another process's, asked it to stop: steps, or the grid of the last one, may be missing. */
  readonly interrupted: boolean
  readonly last: TrainingStep | undefined
}

/**
 * Trains as the configuration says, or goes on with an earlier run. Saves at the end, when the signal aborts, where data cannot be read any
 * more or a grid of samples cannot be made and, of one process, where a callback throws or the log cannot be written.
 *
 * @throws {ConfigurationError} for options that are none, and for a configuration that does not fit its schema
 * @throws {Error} where `out` holds a run, or checkpoints, and `resume` is not set, or the other way round, or is in use; and what Trainer
 * throws
 */
export async function train(options: TrainOptions): Promise<TrainResult> {
  requireTrainOptions(options)
  const { out, device, world = ALONE } = options
  const checkpoints = join(out, RUN_LAYOUT.checkpoints)
  const leads = world.rank === 0
  const resolved = await resolveConfiguration(await withSettingsOfInit(options))
  const prepared = await Dataset.open(options.data, { captions: resolved.captionEncoder !== undefined })
  // Through the schema, in whose order config.json has it.
  const settled = parseConfiguration(
    trainingSchema,
    {
      ...resolved,
      precision: resolved.precision ?? defaultPrecision(device),
      flip: resolved.flip ?? prepared.flip,
      latentsDigest: await digestOfLatents(resolved, prepared),
      captionsDigest: digestOfCaptions(resolved, prepared),
    },
    'the configuration',
  )
  // As another run's config.json does, whose data had none.
  if (!options.resume && prepared.flip && options.shared?.flip === false && options.configuration.flip === undefined)
    options.onNotice?.('The data have mirror images, and `flip: false` of the file of settings leaves them out.')
  requireConsistentAlignment(settled)
  // Here, for it refuses a schedule that is none.
  const settings = trainerSettings(settled)
  requireEqualParts({ ...settled, processes: world.size })
  let encoders: AlignmentEncoder[] = []
  let inUse: FolderInUse | undefined
  try {
    using autoencoder = await openAutoencoder(settled, prepared, options)
    const encodes = settled.encodeLatents ? autoencoder : undefined
    const configuration = encodes ? tellingStatistics(settled, encodes) : settled
    using captionEncoder =
      configuration.captionEncoder && (await loadCaptionEncoder(configuration.captionEncoder.file, { device }))
    const data = encodes ? prepared.encoded(encodes) : prepared
    if (data.notice !== undefined) options.onNotice?.(data.notice)
    encoders = await openEncoders(configuration, data, { device, onNotice: (sentence) => options.onNotice?.(sentence) })
    const cachedEncoders = encoders.filter(isCached).map(({ name }) => name)
    const recompute = await recomputationOf(
      { configuration, data, cachedEncoders, autoencoder: encodes, captionEncoder: captionEncoder?.config },
      options,
    )
    using model = createModel(configuration, data, device)
    const stored: StoredConfiguration = { data: options.data, training: configuration }
    await using trainer = new Trainer({
      ...settings,
      recompute,
      model,
      data,
      autoencoder: encodes,
      captionEncoder,
      world,
      ...alignmentOf(configuration, encoders, model.config.depth),
      configuration: stored,
    })
    if (options.resume && leads) {
      inUse = await FolderInUse.take(out)
      await removeLeftoversOf(out)
    }
    // Of one process nobody asks for the digest, which takes a moment where there are millions of images.
    const trained = world.size === 1 ? configuration : { ...configuration, dataDigest: data.digest }
    const leaders = await world.agree({
      newest: options.resume ? await newestCheckpoint(checkpoints) : undefined,
      configuration: trained,
    })
    requireAlike(trained, leaders.configuration)
    // From here on the folder changes: all have read what they need of it, and nobody has refused.
    await world.meet()
    const checkpoint = leaders.newest
    if (checkpoint) await restoreNewest(checkpoint, (path) => trainer.restore(path))
    else if (options.resume) options.onNotice?.(`${out} has no whole checkpoint yet: the run begins at step 0.`)
    const begunFrom =
      checkpoint || configuration.init === undefined
        ? undefined
        : await loadInitialWeights(model, configuration.init, {
            path: configuration.path,
            run: configuration,
            onNotice: (sentence) => options.onNotice?.(sentence),
          })
    if (leads) {
      await makeFolder(out)
      inUse ??= await FolderInUse.take(out)
      // Another may have begun here since the configuration was resolved, and ended.
      if (!options.resume) await requireNoRun(out)
      await writeWhole(join(out, RUN_LAYOUT.configuration), `${JSON.stringify(stored, null, 2)}\n`)
    }
    options.onStart?.({
      configuration,
      model,
      data,
      cachedEncoders,
      captionEncoder: captionEncoder?.name,
      begunFrom,
      step: trainer.step,
    })
    const log = leads
      ? await MetricsLog.open(out, join(out, RUN_LAYOUT.metrics), trainer.step, options.onNotice)
      : undefined
    try {
      return await trainSegments(trainer, configuration, options, log, checkpoint, { autoencoder, captionEncoder })
    } finally {
      await log?.close()
    }
  } finally {
    await inUse?.[Symbol.asyncDispose]()
    await disposeEncoders(encoders)
  }
}

async function recomputationOf(
  {
    configuration,
    ...request
  }: Pick<FitRequest, 'data' | 'cachedEncoders' | 'autoencoder' | 'captionEncoder'> & {
    readonly configuration: TrainingConfiguration
  },
  { device, world = ALONE, fit, onNotice }: TrainOptions,
): Promise<Recomputation> {
  const { recompute, precision = defaultPrecision(device) } = configuration
  if (recompute !== 'auto') return recompute
  if (!fit) return 'none'
  return fit({
    ...request,
    configuration: { ...configuration, precision },
    device,
    processes: world.size,
    onNotice: (sentence) => onNotice?.(sentence),
  })
}

/** A run that begins from weights and names no model is of the weights' own, and learns along their path where it names none. */
async function withSettingsOfInit(options: TrainOptions): Promise<TrainOptions> {
  const { configuration, resume, onNotice } = options
  const { init, ...given } = givenSettings(options)
  if (resume || init === undefined) return options
  const own = await settingsOfWeights(init, given, (sentence) => onNotice?.(sentence))
  return { ...options, configuration: { ...configuration, ...own } }
}

/** Runs from one step at which something must be written to the next; who has the log writes. */
async function trainSegments(
  trainer: Trainer,
  configuration: TrainingConfiguration,
  { out, world = ALONE, signal, onStep, onSampling, onSampled, onNotice }: TrainOptions,
  log: MetricsLog | undefined,
  restored: string | undefined,
  sampledBy: SampledBy,
): Promise<TrainResult> {
  const { steps, checkpointEvery, resumeEvery, sampleEvery } = configuration
  // A run that was stopped before its first step has a checkpoint of none, of which nothing is due.
  const isDue = (every: number) => trainer.step > 0 && (trainer.step % every === 0 || trainer.step === steps)
  let last: TrainingStep | undefined
  /** The last, until the log has it. */
  let unlogged: readonly TrainingStep[] = []
  const isResumeOnly = () => resumeEvery !== undefined && trainer.step % checkpointEvery !== 0 && trainer.step !== steps
  // One that was only there to resume from, and is the last now, is to be saved again, to stay.
  const stays = restored !== undefined && (isResumeOnly() || !(await isOnlyToResume(restored)))
  let saved = stays ? { step: trainer.step, path: restored } : undefined
  const save = async () => {
    const { step } = trainer
    saved = { step, path: await trainer.save(out, { resumeOnly: isResumeOnly() }) }
    if (log) {
      const { removeResumeOnly } = await import('./checkpoint.ts')
      await removeResumeOnly(join(out, RUN_LAYOUT.checkpoints), step).catch((error: Error) =>
        onNotice?.(`A checkpoint that was there to resume from could not be removed: ${error.message}`),
      )
    }
    return saved
  }
  const sample = async (to: MetricsLog) => {
    await onSampling?.({ step: trainer.step, count: configuration.samples.count })
    try {
      await writeSamples(trainer, configuration, out, to, { signal, onNotice }, sampledBy)
    } finally {
      await onSampled?.()
    }
  }
  // The run may have been killed after this checkpoint and before its grid.
  if (log && restored !== undefined && isDue(sampleEvery) && !(await hasSamples(out, trainer.step))) await sample(log)
  while (trainer.step < steps && !trainer.isStopped) {
    const dues = [checkpointEvery, resumeEvery ?? checkpointEvery, sampleEvery]
    const next = Math.min(steps, ...dues.map((every) => nextMultiple(trainer.step, every)))
    try {
      for await (const step of trainer.run({ steps: next, signal })) {
        last = step
        unlogged = [step]
        await log?.write(step)
        unlogged = []
        if (!step.finite)
          onNotice?.(`Step ${step.index}: the gradient is not finite; the step was left out (${step.skipped} so far).`)
        await onStep?.(step)
      }
      await log?.flush()
      if (trainer.isStopped) break
      // Saved before it is sampled: sampling takes time, in which a kill would cost the steps.
      if (isDue(checkpointEvery) || isDue(resumeEvery ?? checkpointEvery)) await save()
      if (log) {
        try {
          await log.requireInPlace(saved?.step === trainer.step ? saved.path : undefined)
          if (isDue(sampleEvery)) await sample(log)
        } catch (error) {
          // The other processes go on to the next step: there they hear of it, and all can save.
          if (trainer.step < steps) await world.begins(trainer.step, false, error as Error)
          throw error
        }
      }
    } catch (error) {
      if (log) await logUnreported([...unlogged, ...trainer.unreported], (step) => log.write(step), onNotice)
      // Several processes save together, and can where all have stopped before the same step; nobody ends before that is done.
      const isTogether = world.size === 1 || error instanceof StepImpossible
      if (isTogether && trainer.step > (saved?.step ?? 0)) {
        await saveOnFailure(async () => (await save()).path, onNotice)
        await world.meet()
      }
      throw error
    }
  }
  const { path } = saved?.step === trainer.step ? saved : await save()
  await log?.requireInPlace(path)
  return {
    step: trainer.step,
    checkpoint: path,
    interrupted: trainer.isStopped || (signal?.aborted ?? false),
    last,
  }
}

async function isOnlyToResume(checkpoint: string): Promise<boolean> {
  const { readCheckpointState } = await import('./checkpoint.ts')
  return (await readCheckpointState(checkpoint)).resumeOnly ?? false
}

const nextMultiple = (step: number, every: number) => (Math.floor(step / every) + 1) * every

function isOfText(model: TrainingConfiguration['model']): boolean {
  const settings = sizesOf(model)
  return 'text' in settings && settings.text !== undefined
}

/** The model that a configuration wants for these data, with its first weights and without projectors. */
export function createModel(configuration: TrainingConfiguration, data: Dataset, device: Device): AnyTransformer {
  const { model, classDropout, projectorWidth, seed } = configuration
  const [channels, height, width] = data.latentShape
  const config = parseConfiguration(
    transformerConfigSchema,
    {
      ...sizesOf(model),
      channels,
      inputSize: [height, width],
      classes: isOfText(model) ? 0 : data.classes,
      classDropout,
      projectorWidth,
      alignDepth: alignDepthOf(configuration),
    },
    "the model's configuration",
  )
  const created = transformerFromConfig(config, device)
  created.initialise(seed)
  return created
}

/** Removes what a killed run left half written, on this machine or another. */
async function removeLeftoversOf(out: string): Promise<void> {
  await tidyCheckpoints(join(out, RUN_LAYOUT.checkpoints))
  for (const folder of [out, join(out, RUN_LAYOUT.samples)]) await removeLeftovers(folder, { ofOtherMachines: true })
}
