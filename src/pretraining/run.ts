/** A pretraining in a folder: `config.json`, `metrics.jsonl`, TensorBoard events, `checkpoints/STEP/`, and at its end the encoder. */
import { join } from 'node:path'
import * as z from 'zod'
import { aFunction, aSignal } from '../configuration/callbacks.ts'
import { parseConfiguration, whenNeeded } from '../configuration/parse.ts'
import { parseStored } from '../configuration/stored.ts'
import { Dataset } from '../data/dataset.ts'
import { writeWhole } from '../formats/atomic-file.ts'
import { FolderInUse } from '../formats/folder-in-use.ts'
import { makeFolder } from '../formats/make-folder.ts'
import { type VisionTransformerConfig, visionTransformerConfigSchema } from '../models/vit-config.ts'
import type { Device } from '../tensor/device.ts'
import { newestCheckpoint, tidyCheckpoints } from '../training/checkpoint-files.ts'
import { restoreNewest } from '../training/damaged-checkpoint.ts'
import { logUnreported } from '../training/log-unreported.ts'
import { MetricsLog, rounded } from '../training/metrics.ts'
import { defaultPrecision } from '../training/precision.ts'
import { requireNoRun, requireSameData, storedJson } from '../training/run-configuration.ts'
import { RUN_LAYOUT } from '../training/run-layout.ts'
import { saveOnFailure } from '../training/save-on-failure.ts'
import { channelStatistics } from './channel-statistics.ts'
import { restoreCheckpoint, saveCheckpoint } from './checkpoint.ts'
import { type PretrainingConfiguration, type PretrainingOptions, pretrainingSchema } from './configuration.ts'
import { writeEncoder } from './encoder-file.ts'
import { featureStandardisation } from './feature-standardisation.ts'
import { Pretrainer, type PretrainingStep } from './pretrainer.ts'

/** The encoder that a finished run leaves. */
export const ENCODER_FILE = 'encoder.safetensors'

/** What `config.json` holds. */
const storedSchema = z.strictObject({ data: z.string(), pretraining: pretrainingSchema })

type Stored = z.output<typeof storedSchema>

/** What may be done with checkpoints whose run has lost its configuration. */
const RESTORE = `restore the ${RUN_LAYOUT.configuration} of their run and go on by \`resume\``

/** Side of an image from which on it has 16 patches to a side, and not 8. */
const LARGE_IMAGES = 128

export interface PretrainEncoderOptions {
  /** A prepared data set's folder. */
  readonly data: string
  /** The run's folder. */
  readonly out: string
  /** The rest has defaults. */
  readonly configuration: PretrainingOptions
  /** Go on from the newest whole checkpoint of `out`; then the configuration is the stored one. */
  readonly resume?: boolean
  readonly device: Device
  readonly signal?: AbortSignal
  readonly onStart?: (run: PretrainingRun) => void
  /** The run waits for what it promises. */
  readonly onStep?: (step: PretrainingStep) => unknown
  /** Things to tell the user: a sentence each. */
  readonly onNotice?: (sentence: string) => void
}

const optionsSchema = whenNeeded(() =>
  z.strictObject({
    data: z.string(),
    out: z.string(),
    // Has a schema of its own.
    configuration: z.unknown().optional(),
    resume: z.boolean().optional(),
    device: z.string(),
    signal: aSignal().optional(),
    onStart: aFunction().optional(),
    onStep: aFunction().optional(),
    onNotice: aFunction().optional(),
  } satisfies Record<keyof PretrainEncoderOptions, z.ZodType>),
)

export interface PretrainingRun {
  readonly configuration: PretrainingConfiguration
  readonly encoder: VisionTransformerConfig
  /** Of the encoder, and of all that is trained. */
  readonly parameters: { readonly encoder: number; readonly all: number }
  readonly data: Dataset
  /** Steps already made, when resumed. */
  readonly step: number
}

export interface PretrainEncoderResult {
  readonly step: number
  readonly checkpoint: string
  /** The encoder's file; undefined where the signal ended the run before its last step, or before the encoder was written. */
  readonly encoder: string | undefined
  readonly last: PretrainingStep | undefined
}

/**
 * Trains a vision transformer on a data set's images by a self-supervised objective, or goes on with an earlier run. Saves at the end,
 * when the signal aborts, and where data cannot be read any more or a callback throws.
 *
 * @throws {ConfigurationError} for options that are none, and a configuration that does not fit its schema
 * @throws {Error} where `out` holds a run, or checkpoints, and `resume` is not set, or the other way round, or is in use
 */
export async function pretrainEncoder(options: PretrainEncoderOptions): Promise<PretrainEncoderResult> {
  parseConfiguration(optionsSchema(), options, 'the options of pretrainEncoder')
  const { out, device, signal } = options
  const data = await Dataset.open(options.data, { captions: false })
  const resolved = await resolveConfiguration(options)
  // Through the schema, in whose order config.json has it.
  const configuration = parseConfiguration(
    pretrainingSchema,
    {
      ...resolved,
      patch: resolved.patch ?? defaultPatch(data),
      precision: resolved.precision ?? defaultPrecision(device),
    },
    'the configuration',
  )
  const encoder = encoderOf(configuration, data)
  const statistics = await channelStatistics(data, configuration.seed, signal)
  await using pretrainer = new Pretrainer({ ...configuration, data, encoder, statistics, device })
  const checkpoints = join(out, RUN_LAYOUT.checkpoints)
  await makeFolder(out)
  await using _inUse = await FolderInUse.take(out)
  // Another may have begun here since the configuration was resolved, and ended.
  if (!options.resume) await requireNoRun(out, RESTORE)
  if (options.resume) await tidyCheckpoints(checkpoints)
  const checkpoint = options.resume ? await newestCheckpoint(checkpoints) : undefined
  if (checkpoint) await restoreNewest(checkpoint, (path) => restoreCheckpoint(path, pretrainer))
  else if (options.resume) options.onNotice?.(`${out} has no whole checkpoint yet: the run begins at step 0.`)
  const stored: Stored = { data: options.data, pretraining: configuration }
  await writeWhole(join(out, RUN_LAYOUT.configuration), `${JSON.stringify(stored, null, 2)}\n`)
  const { method } = pretrainer
  options.onStart?.({
    configuration,
    encoder: method.encoder.config,
    parameters: { encoder: parameterCount(method.encoder.tensors), all: method.model.parameterCount },
    data,
    step: pretrainer.step,
  })
  const log = await MetricsLog.open(out, join(out, RUN_LAYOUT.metrics), pretrainer.step, options.onNotice)
  try {
    const run = await runSegments(pretrainer, stored, options, log, checkpoint)
    if (pretrainer.step < configuration.steps) return { ...run, encoder: undefined }
    const file = join(out, ENCODER_FILE)
    const { steps, batch } = configuration
    const looking = featureStandardisation(method, data, { statistics, seed: configuration.seed, signal })
    const features = await looking.catch((error: unknown) => {
      // All steps are saved: a resumed run does the rest.
      if (!signal?.aborted) throw error
    })
    if (!features) return { ...run, encoder: undefined }
    await writeEncoder(file, method, { statistics, training: { data: options.data, steps, batch } }, features)
    return { ...run, encoder: file }
  } finally {
    await log.close()
  }
}

/** Runs from one checkpoint to the next. */
async function runSegments(
  pretrainer: Pretrainer,
  stored: Stored,
  { out, signal, onStep, onNotice }: PretrainEncoderOptions,
  log: MetricsLog,
  restored: string | undefined,
): Promise<Omit<PretrainEncoderResult, 'encoder'>> {
  const { steps, checkpointEvery } = stored.pretraining
  const save = async () => ({
    step: pretrainer.step,
    path: await saveCheckpoint(join(out, RUN_LAYOUT.checkpoints), pretrainer, stored),
  })
  let last: PretrainingStep | undefined
  /** The last, until the log has it. */
  let unlogged: readonly PretrainingStep[] = []
  let saved = restored === undefined ? undefined : { step: pretrainer.step, path: restored }
  while (pretrainer.step < steps && !signal?.aborted) {
    const until = Math.min(steps, (Math.floor(pretrainer.step / checkpointEvery) + 1) * checkpointEvery)
    try {
      for await (const step of pretrainer.run({ until, ...(signal && { signal }) })) {
        last = step
        unlogged = [step]
        await write(log, step)
        unlogged = []
        if (!step.finite)
          onNotice?.(`Step ${step.index}: the gradient is not finite; the step was left out (${step.skipped} so far).`)
        await onStep?.(step)
      }
      await log.flush()
      if (signal?.aborted) break
      saved = await save()
      await log.requireInPlace(saved.path)
    } catch (error) {
      await logUnreported([...unlogged, ...pretrainer.unreported], (step) => write(log, step), onNotice)
      if (pretrainer.step > (saved?.step ?? 0)) await saveOnFailure(async () => (await save()).path, onNotice)
      throw error
    }
  }
  if (saved?.step !== pretrainer.step) saved = await save()
  await log.requireInPlace(saved.path)
  return { step: saved.step, checkpoint: saved.path, last }
}

async function write(log: MetricsLog, step: PretrainingStep): Promise<void> {
  const { index, loss, parts, gradNorm, learningRate, imagesPerSecond, seconds, skipped } = step
  const line = {
    step: index,
    loss,
    ...parts,
    gradNorm,
    lr: learningRate,
    imagesPerSecond: rounded(imagesPerSecond),
    seconds: rounded(seconds),
    skipped,
  }
  await log.append(line, [
    ['loss/total', loss],
    ...Object.entries(parts).map(([name, value]) => [`loss/${name}`, value] as const),
    ['gradient/norm', gradNorm],
    ['optimizer/learning_rate', learningRate],
    ['throughput/images_per_second', imagesPerSecond],
  ])
}

/** The run's whole configuration: given, or stored with the run that goes on. */
async function resolveConfiguration(options: PretrainEncoderOptions): Promise<PretrainingConfiguration> {
  const { out, configuration, resume } = options
  if (!resume) {
    await requireNoRun(out, RESTORE)
    return parseConfiguration(pretrainingSchema, configuration, 'the configuration')
  }
  const json = await storedJson(out)
  if (json === undefined) {
    await requireNoRun(out, RESTORE)
    throw new Error(
      `${out} holds no run to resume: it has no ${RUN_LAYOUT.configuration}. Leave out \`resume\` to begin one.`,
    )
  }
  const stored = parseStored(storedSchema, json, join(out, RUN_LAYOUT.configuration))
  requireSameData(stored.data, options)
  const given = parseConfiguration(pretrainingSchema.partial(), configuration, 'the configuration')
  for (const key of Object.keys(configuration) as (keyof PretrainingConfiguration)[]) {
    if (given[key] === undefined || key === 'checkpointEvery' || stored.pretraining[key] === given[key]) continue
    throw new Error(
      `The run in ${out} has \`${key}\` ${stored.pretraining[key]}; a resumed run cannot change it to ${given[key]}` +
        `${key === 'steps' ? ', for its learning rate falls to 0 at the last step' : ''}.`,
    )
  }
  const { checkpointEvery = stored.pretraining.checkpointEvery } = configuration
  return { ...stored.pretraining, checkpointEvery }
}

function defaultPatch({ imageSize, path }: Dataset): number {
  const patch = imageSize / (imageSize < LARGE_IMAGES ? 8 : 16)
  if (Number.isInteger(patch)) return patch
  throw new Error(
    `The images in ${path} have ${imageSize} pixels, which gives no usual patch; say \`patch\`, a divisor of ${imageSize}.`,
  )
}

/** The plain vision transformer of MAE and DINO, of the wanted sizes. */
function encoderOf({ patch, hidden, depth, heads }: PretrainingConfiguration, data: Dataset): VisionTransformerConfig {
  const config = {
    imageSize: data.imageSize,
    patch,
    hidden,
    depth,
    heads,
    layerScale: false,
    maskToken: false,
  }
  return parseConfiguration(visionTransformerConfigSchema, config, "the encoder's configuration")
}

const parameterCount = (tensors: readonly { readonly entry: { readonly shape: readonly number[] } }[]) =>
  tensors.reduce((sum, { entry }) => sum + entry.shape.reduce((product, size) => product * size, 1), 0)
