/** The configuration of a run in a folder: given when it begins, `config.json` from then on. */
import { existsSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import * as z from 'zod'
import { encoderDigest } from '../alignment/encoder-digest.ts'
import { familyOf } from '../alignment/encoder-families.ts'
import { parseJson } from '../configuration/json.ts'
import { parseConfiguration } from '../configuration/parse.ts'
import { parseStored } from '../configuration/stored.ts'
import { ifThere, isThere } from '../formats/if-there.ts'
import { captionEncoderDigest } from '../text/clip-files.ts'
import { readCheckpointState } from './checkpoint.ts'
import { newestCheckpoint } from './checkpoint-files.ts'
import {
  modelSetting,
  type TrainingConfiguration,
  type TrainingOptions,
  trainingSchema,
  withModelSetting,
} from './configuration.ts'
import { requireOwners } from './owned-settings.ts'
import { RUN_LAYOUT } from './run-layout.ts'

/** What `config.json` holds, and a checkpoint's `configuration`. */
const storedConfigurationSchema = z.strictObject({ data: z.string(), training: trainingSchema })

export type StoredConfiguration = z.output<typeof storedConfigurationSchema>

/** What a resumed run may change: nothing that the weights depend on. Of its encoders, where their files lie. */
const FREE_ON_RESUME = new Set([
  'steps',
  'checkpointEvery',
  'resumeEvery',
  'sampleEvery',
  'samples',
  'autoencoder',
  'cudaGraph',
  'recompute',
])

interface GivenSettings {
  /** Settings given now. */
  readonly configuration: TrainingOptions
  /** Settings of a file, where `configuration` has no others. */
  readonly shared?: TrainingOptions
}

export interface ConfigurationRequest extends GivenSettings {
  /** The data set's folder. */
  readonly data: string
  /** The run's folder. */
  readonly out: string
  readonly resume?: boolean
  /** Things to tell the user: a sentence each. */
  readonly onNotice?: (sentence: string) => void
}

/**
 * The run's whole configuration: given, or stored with the run that goes on, with the digests of its encoders' files.
 *
 * @throws {ConfigurationError} for a configuration that does not fit its schema
 * @throws {Error} where there is a run, or checkpoints, and `resume` is not set, or the other way round; where a resumed run would change
 * what its weights depend on, an encoder's file included; for settings of what the training has not
 */
export async function resolveConfiguration(request: ConfigurationRequest): Promise<TrainingConfiguration> {
  const { out, resume } = request
  const settings = givenSettings(request)
  if (!resume) {
    await requireNoRun(out)
    const begun = withModelSetting(parseConfiguration(trainingSchema, settings, 'the configuration'))
    requireGivenOwners(request, begun)
    return withDigests(begun)
  }
  const json = await storedJson(out)
  if (json !== undefined) return withDigests(await resumedConfiguration({ ...request, configuration: settings }, json))
  const adopted = await adoptedConfiguration({ ...request, configuration: settings })
  requireGivenOwners(request, adopted)
  return withDigests(adopted)
}

/** What is said of a training, and what a file says where that says nothing. */
export function givenSettings({ configuration, shared = {} }: GivenSettings): TrainingOptions {
  const said = Object.entries(configuration).filter(([, value]) => value !== undefined)
  return { ...shared, ...Object.fromEntries(said) }
}

/** Not of what a run goes on with: an old one may have settings that did nothing. */
function requireGivenOwners({ configuration, shared = {} }: GivenSettings, all: TrainingConfiguration): void {
  requireOwners(configuration, all)
  requireOwners(shared, all, 'a file')
}

/**
 * Holds encoders, of images and of captions, to their digests, and notes those of others. A file that is not here is left to what opens it,
 * if anything does.
 */
async function withDigests(configuration: TrainingConfiguration): Promise<TrainingConfiguration> {
  const encoders: TrainingConfiguration['encoders'] = []
  for (const encoder of configuration.encoders) {
    const { name, file, sha256: wanted } = encoder
    if (file === undefined || !existsSync(file)) {
      encoders.push(encoder)
      continue
    }
    const sha256 = await encoderDigest(name, file)
    const found = `${file} holds other weights than the run's ${name}`
    const beside = familyOf(name)?.traitsBeside ? ', with the config.json that lay beside it' : ''
    requireDigest(
      sha256,
      wanted,
      found,
      `pass the file that it began with${beside}, by \`encoders: [{ name: '${name}', file: 'FILE' }]\``,
    )
    encoders.push({ ...encoder, sha256 })
  }
  return { ...configuration, encoders, captionEncoder: await withDigest(configuration.captionEncoder) }
}

async function withDigest(
  encoder: TrainingConfiguration['captionEncoder'],
): Promise<TrainingConfiguration['captionEncoder']> {
  if (!encoder || !existsSync(encoder.file)) return encoder
  const { file, digest: wanted } = encoder
  const digest = await captionEncoderDigest(file)
  const found = `${file} is another caption encoder than the run's, by its weights, tokenizer or config.json`
  requireDigest(digest, wanted, found, "pass the one that it began with, by `captionEncoder: { file: 'FILE' }`")
  return { file, digest }
}

function requireDigest(digest: string, wanted: string | undefined, found: string, advice: string): void {
  if (wanted === undefined || wanted === digest) return
  throw new Error(`${found}: SHA-256 ${digest.slice(0, 12)}…, not ${wanted.slice(0, 12)}…; ${advice}.`)
}

/**
 * Holds a folder to be one in which a run may begin.
 *
 * @param goOn what may be done with checkpoints that have no `config.json`. Default: of a training
 * @throws Error where it holds a run, or checkpoints, for a run that begins there would be resumed from those
 */
export async function requireNoRun(
  out: string,
  goOn = "go on from the newest by `resume` where it is a training run's",
): Promise<void> {
  if (await isThere(join(out, RUN_LAYOUT.configuration))) {
    throw new Error(`${out} already holds a run; go on with it by \`resume\`, or choose another \`out\`.`)
  }
  if ((await newestCheckpoint(join(out, RUN_LAYOUT.checkpoints))) !== undefined) {
    throw new Error(`${out} holds checkpoints already; ${goOn}, or choose another \`out\`.`)
  }
}

/** The value of a run's `config.json`, not checked yet; undefined where there is none. */
export async function storedJson(out: string): Promise<unknown> {
  const file = join(out, RUN_LAYOUT.configuration)
  const text = await ifThere(readFile(file, 'utf8'))
  return text === undefined ? undefined : parseJson(text, file, { advice: 'restore it, or begin a new run' })
}

/**
 * Holds a run that is to be resumed to its data set. One that is not here any more may have been moved, and `onNotice` is told.
 *
 * @throws Error where the run's own data set is here, and another one was given
 */
export function requireSameData(
  stored: string,
  { out, data, onNotice }: Pick<ConfigurationRequest, 'out' | 'data' | 'onNotice'>,
): void {
  if (resolve(stored) === resolve(data)) return
  if (existsSync(stored)) {
    throw new Error(`The run in ${out} trains on ${stored}, not on ${data}; resume it with \`data\` ${stored}.`)
  }
  onNotice?.(`${stored} is not here any more: ${data} is taken for the same data.`)
}

/** What a run's folder or a checkpoint has, which may be of a time when models had several spellings. */
function storedConfiguration(json: unknown, what: string): StoredConfiguration {
  const { data, training } = parseStored(storedConfigurationSchema, json, what)
  return { data, training: withModelSetting(training) }
}

async function resumedConfiguration(request: ConfigurationRequest, json: unknown): Promise<TrainingConfiguration> {
  const { out, configuration } = request
  const stored = storedConfiguration(json, join(out, RUN_LAYOUT.configuration))
  requireSameData(stored.data, request)
  const said = parseConfiguration(trainingSchema.partial(), configuration, 'the configuration')
  const given = { ...said, model: said.model && modelSetting(said.model) }
  for (const [key, value] of Object.entries(configuration)) {
    if (value === undefined || FREE_ON_RESUME.has(key)) continue
    const before = JSON.stringify(stored.training[key as keyof TrainingConfiguration])
    const now = JSON.stringify(given[key as keyof TrainingConfiguration])
    if (before === now) continue
    // Its bytes will be held to those of before.
    if (key === 'captionEncoder' && isThatOf(stored.training, given)) continue
    if (key === 'encoders' && (await areSame(stored.training.encoders, given.encoders ?? [], request))) continue
    throw new Error(`The run in ${out} has \`${key}\` ${before}; a resumed run cannot change it to ${now}.`)
  }
  const changes = Object.fromEntries(
    Object.entries(configuration)
      .filter(([key, value]) => value !== undefined && FREE_ON_RESUME.has(key))
      .map(([key]) => [key, given[key as keyof typeof given]]),
  )
  // Where they lie now; what they must be stays.
  const encoders = stored.training.encoders.map((encoder, i) => {
    const file = configuration.encoders === undefined ? undefined : given.encoders?.[i]?.file
    return file === undefined ? encoder : { ...encoder, file }
  })
  const { captionEncoder } = stored.training
  return {
    ...stored.training,
    ...changes,
    encoders,
    captionEncoder: captionEncoder && { ...captionEncoder, file: given.captionEncoder?.file ?? captionEncoder.file },
  }
}

/** Whether a caption encoder may be that of before, lying elsewhere by now. */
function isThatOf(
  { captionEncoder: before }: Pick<TrainingConfiguration, 'captionEncoder'>,
  { captionEncoder: now }: Pick<TrainingConfiguration, 'captionEncoder'>,
): boolean {
  return before !== undefined && (now?.digest === undefined || now.digest === before.digest)
}

/** Whether encoders are those of before, whose files may lie elsewhere by now. */
async function areSame(
  before: TrainingConfiguration['encoders'],
  now: TrainingConfiguration['encoders'],
  { onNotice }: ConfigurationRequest,
): Promise<boolean> {
  if (before.length !== now.length) return false
  for (const [i, { name, file }] of now.entries()) {
    const { name: oldName, file: oldFile, sha256 } = before[i]!
    if (name !== oldName) return false
    if (file === oldFile) continue
    if (file === undefined || oldFile === undefined) return false
    // Its bytes will be held to this.
    if (sha256 !== undefined && existsSync(file)) continue
    if (!existsSync(oldFile)) onNotice?.(`${oldFile} is not here any more: ${file} is taken for the same weights.`)
    else if ((await encoderDigest(name, oldFile)) !== (await encoderDigest(name, file))) return false
  }
  return true
}

/**
 * Of a folder that has a checkpoint and no run yet, as `repa convert` leaves it: what the checkpoint says of its training, where
 * nothing else was given. Files of encoders it cannot know.
 */
async function adoptedConfiguration({ out, configuration }: ConfigurationRequest): Promise<TrainingConfiguration> {
  const checkpoint = await newestCheckpoint(join(out, RUN_LAYOUT.checkpoints))
  if (checkpoint === undefined) {
    throw new Error(
      `${out} holds no run to resume: it has no ${RUN_LAYOUT.configuration} and no checkpoint in ${RUN_LAYOUT.checkpoints}/. ` +
        'Leave out `resume` to begin one.',
    )
  }
  const { model, configuration: told } = await readCheckpointState(checkpoint)
  if (told === null) {
    throw new Error(
      `${checkpoint} is of a program's own Trainer, which was given no configuration to keep: that program goes on with it by ` +
        '`trainer.restore`; to begin a run from its weights, leave out `resume`, take another `out` and name it by `init`.',
    )
  }
  const stored = storedConfiguration(told, `${checkpoint}, configuration`)
  const { captionEncoder: given, init } = configuration
  if (init !== undefined && init !== stored.training.init) {
    throw new Error(`This training goes on from a checkpoint, and cannot begin from ${init} too: leave out \`init\`.`)
  }
  const adopted = withModelSetting(
    parseConfiguration(
      trainingSchema,
      {
        ...stored.training,
        ...configuration,
        // Another file may be given, in which the same weights are: their digest is the checkpoint's.
        ...(given && { captionEncoder: { ...stored.training?.captionEncoder, ...given } }),
      },
      `the configuration of ${checkpoint} with what was given`,
    ),
  )
  const { encoders } = adopted
  const wanted = model.alignWidths
  if (encoders.length !== wanted.length) {
    throw new Error(
      `${checkpoint} has projectors for encoders of these widths: ${wanted.join(', ') || 'none'}. ` +
        `Given: ${encoders.map(({ name }) => name).join(', ') || 'none'}. Name each by \`encoders: [{ name: 'NAME', file: 'FILE' }]\`, in their order.`,
    )
  }
  return adopted
}
