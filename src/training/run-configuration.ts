/** The configuration of a run in a folder: given when it begins, `config.json` from then on. */
import { readFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import * as z from 'zod'
import { parseConfiguration } from '../configuration/parse.ts'
import { ifThere } from '../formats/if-there.ts'
import { readCheckpointState } from './checkpoint.ts'
import { CHECKPOINTS, newestCheckpoint } from './checkpoint-files.ts'
import { type TrainingConfiguration, type TrainingOptions, trainingSchema } from './configuration.ts'

export const CONFIG_FILE = 'config.json'

/** What `config.json` holds, and a checkpoint's `configuration`. */
const storedConfigurationSchema = z.strictObject({ data: z.string(), training: trainingSchema })

export type StoredConfiguration = z.output<typeof storedConfigurationSchema>

/** What a resumed run may change: nothing that the weights depend on. */
const FREE_ON_RESUME = new Set([
  'steps',
  'checkpointEvery',
  'sampleEvery',
  'samples',
  'autoencoder',
  'cudaGraph',
  'recompute',
])

export interface ConfigurationRequest {
  /** The data set's folder. */
  readonly data: string
  /** The run's folder. */
  readonly out: string
  /** Settings given now. */
  readonly configuration: TrainingOptions
  readonly resume?: boolean
}

/** The run's whole configuration: given, or stored with the run that goes on. */
export async function resolveConfiguration(request: ConfigurationRequest): Promise<TrainingConfiguration> {
  const { configuration, resume } = request
  const json = await storedJson(request)
  if (resume) return json === undefined ? adoptedConfiguration(request) : resumedConfiguration(request, json)
  return parseConfiguration(trainingSchema, configuration, 'the configuration')
}

/**
 * The value of a run's `config.json`, not checked yet; undefined where there is none.
 *
 * @throws Error where there is one and the run is not to be resumed
 */
export async function storedJson({
  out,
  resume,
}: {
  readonly out: string
  readonly resume?: boolean
}): Promise<unknown> {
  const file = join(out, CONFIG_FILE)
  const text = await ifThere(readFile(file, 'utf8'))
  if (text === undefined) return undefined
  if (!resume) throw new Error(`${out} already holds a run; go on with it by --resume, or choose another --out.`)
  return parseJson(text, file)
}

/** @throws Error where a run that is to be resumed is on another data set than the one that was given */
export function requireSameData(out: string, stored: string, given: string): void {
  if (resolve(stored) === resolve(given)) return
  throw new Error(`The run in ${out} trains on ${stored}, not on ${given}; resume it with --data ${stored}.`)
}

function resumedConfiguration(
  { data, out, configuration }: ConfigurationRequest,
  json: unknown,
): TrainingConfiguration {
  const stored = parseConfiguration(storedConfigurationSchema, json, join(out, CONFIG_FILE))
  requireSameData(out, stored.data, data)
  const given = parseConfiguration(trainingSchema.partial(), configuration, 'the configuration')
  for (const [key, value] of Object.entries(configuration)) {
    if (value === undefined || FREE_ON_RESUME.has(key)) continue
    const before = JSON.stringify(stored.training[key as keyof TrainingConfiguration])
    const now = JSON.stringify(given[key as keyof TrainingConfiguration])
    if (before !== now) {
      throw new Error(`The run in ${out} has ${key} ${before}; a resumed run cannot change it to ${now}.`)
    }
  }
  const changes = Object.fromEntries(
    Object.keys(configuration)
      .filter((key) => FREE_ON_RESUME.has(key))
      .map((key) => [key, given[key as keyof typeof given]]),
  )
  return { ...stored.training, ...changes }
}

/**
 * Of a folder that has a checkpoint and no run yet, as `repa convert` leaves it: what the checkpoint says of its training, where
 * nothing else was given. Files of encoders it cannot know.
 */
async function adoptedConfiguration({ out, configuration }: ConfigurationRequest): Promise<TrainingConfiguration> {
  const checkpoint = await newestCheckpoint(join(out, CHECKPOINTS))
  if (checkpoint === undefined) {
    throw new Error(
      `${out} holds no run to resume: it has no ${CONFIG_FILE} and no checkpoint in ${CHECKPOINTS}/. ` +
        'Leave out --resume to begin one.',
    )
  }
  const { model, configuration: told } = await readCheckpointState(checkpoint)
  const stored = parseConfiguration(storedConfigurationSchema, told, `${checkpoint}, configuration`)
  const adopted = parseConfiguration(
    trainingSchema,
    { ...stored.training, ...configuration },
    `the configuration of ${checkpoint} with what was given`,
  )
  const { encoders } = adopted
  const wanted = model.alignWidths
  if (encoders.length !== wanted.length) {
    throw new Error(
      `${checkpoint} has projectors for encoders of these widths: ${wanted.join(', ') || 'none'}. ` +
        `Given: ${encoders.map(({ name }) => name).join(', ') || 'none'}. Name each by --encoder NAME=FILE, in their order.`,
    )
  }
  return adopted
}

function parseJson(text: string, file: string): unknown {
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw new Error(`${file} is not JSON: ${(cause as Error).message}; restore it, or begin a new run.`, { cause })
  }
}
