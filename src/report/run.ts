import { readFile } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import * as z from 'zod'
import { aSignal } from '../configuration/callbacks.ts'
import { parseJson } from '../configuration/json.ts'
import { parseConfiguration, whenNeeded } from '../configuration/parse.ts'
import { requirePath } from '../configuration/path-argument.ts'
import { ifThere } from '../formats/if-there.ts'
import { RUN_LAYOUT } from '../training/run-layout.ts'
import { type Evaluation, readEvaluations } from './evaluations.ts'
import { type JsonObject, JsonObjectSchema } from './json.ts'
import { readMetrics } from './metrics.ts'
import { type Metrics, NO_METRICS } from './metrics-table.ts'
import { chooseSteps, listSampleSteps, readSampleGrids, type SampleGrids } from './sample-grids.ts'

/** What a report shows of one run. */
export interface RunData {
  /** The folder's name. */
  readonly name: string
  /** The folder's absolute path. */
  readonly directory: string
  readonly config: JsonObject
  readonly metrics: Metrics
  readonly samples: SampleGrids
  /** What `repa evaluate` found and left in the folder's `evaluation/`. */
  readonly evaluations: readonly Evaluation[]
}

export interface ReadRunOptions {
  /** Most sample grids to read; they are embedded in the page as they are. Default 12. */
  readonly sampleLimit?: number
}

const foldersSchema = whenNeeded(() => z.array(z.string('expected the folder of a run')))

const optionsSchema = whenNeeded(() =>
  z.strictObject({ sampleLimit: z.int().min(0).optional(), signal: aSignal().optional() } satisfies Record<
    keyof ReadRunOptions | 'signal',
    z.ZodType
  >),
)

/**
 * Reads a run's folder as `repa train` and `repa evaluate` write it: `config.json`, `metrics.jsonl`, `samples/`,
 * `evaluation/`. Only the configuration must be there: a run that has just begun has logged nothing yet.
 *
 * @throws {ConfigurationError} for options that are none; {Error} naming the file that is missing, unreadable or of the wrong form.
 */
export async function readRun(directory: string, options: ReadRunOptions = {}): Promise<RunData> {
  requirePath(directory, 'the run of readRun')
  return (await readRuns([directory], options))[0]!
}

/**
 * Reads several runs that are to be compared: sample grids are of the same steps in all of them, as far as they have them.
 *
 * @throws Error as `readRun` does.
 */
export async function readRuns(
  directories: readonly string[],
  options: ReadRunOptions & { readonly signal?: AbortSignal } = {},
): Promise<RunData[]> {
  parseConfiguration(foldersSchema(), directories, 'the runs of readRuns')
  parseConfiguration(optionsSchema(), options, 'the options of reading runs')
  const { sampleLimit = 12, signal } = options
  const configs: JsonObject[] = []
  for (const directory of directories) configs.push(await readConfig(directory))
  const available = await Promise.all(
    directories.map((directory) => listSampleSteps(join(directory, RUN_LAYOUT.samples))),
  )
  const shown = chooseSteps(available, sampleLimit)
  const runs: RunData[] = []
  for (const [i, directory] of directories.entries()) {
    signal?.throwIfAborted()
    const steps = available[i]!
    runs.push({
      name: basename(resolve(directory)),
      directory: resolve(directory),
      config: configs[i]!,
      metrics: (await ifThere(readMetrics(join(directory, RUN_LAYOUT.metrics), signal))) ?? NO_METRICS,
      samples: {
        shown: await readSampleGrids(
          join(directory, RUN_LAYOUT.samples),
          steps.filter((step) => shown.has(step)),
        ),
        available: steps.length,
      },
      evaluations: await readEvaluations(join(directory, RUN_LAYOUT.evaluation)),
    })
  }
  return runs
}

/**
 * A run's `config.json`.
 *
 * @throws Error where the folder has none, or it is no JSON object.
 */
export async function readConfig(directory: string): Promise<JsonObject> {
  const config = await readJson(join(directory, RUN_LAYOUT.configuration), JsonObjectSchema)
  if (config !== undefined) return config
  throw new Error(`${directory}: not a run's folder, it has no config.json; give the folder of a training run.`)
}

/** A name for each run that tells it from the others: the folder's name, with its parents' names where those are equal. */
export function distinctNames(runs: readonly Pick<RunData, 'name' | 'directory'>[]): string[] {
  const names = runs.map(({ name }) => name)
  const parents = runs.map(({ directory }) => dirname(directory))
  for (;;) {
    const ambiguous = names.map((name) => names.indexOf(name) !== names.lastIndexOf(name))
    const growing = ambiguous.map((is, i) => is && basename(parents[i]!) !== '')
    if (!growing.includes(true)) break
    for (let i = 0; i < names.length; i++) {
      if (!growing[i]) continue
      names[i] = `${basename(parents[i]!)}/${names[i]}`
      parents[i] = dirname(parents[i]!)
    }
  }
  // The same folder given twice.
  return names.map((name, i) => {
    const earlier = names.slice(0, i).filter((other) => other === name).length
    return earlier === 0 ? name : `${name} (${earlier + 1})`
  })
}

async function readJson<T>(file: string, schema: z.ZodType<T>): Promise<T | undefined> {
  const text = await ifThere(readFile(file, 'utf8'))
  if (text === undefined) return undefined
  const checked = schema.safeParse(parseJson(text, file))
  if (checked.success) return checked.data
  throw new Error(`${file}: expected a JSON object: ${checked.error.issues[0]!.message}.`)
}
