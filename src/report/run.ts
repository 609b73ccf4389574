import { readFile } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import type { z } from 'zod'
import { type JsonObject, JsonObjectSchema } from './json.ts'
import { type Metrics, readMetrics } from './metrics.ts'
import { readSampleGrids, type SampleGrids } from './sample-grids.ts'

/** What a report shows of one run. */
export interface RunData {
  /** The folder's name. */
  readonly name: string
  /** The folder's absolute path. */
  readonly directory: string
  readonly config: JsonObject
  readonly metrics: Metrics
  readonly samples: SampleGrids
  /** What `repa evaluate` found, where the folder holds an `evaluation.json`. */
  readonly evaluation: JsonObject | undefined
}

export interface ReadRunOptions {
  /** Most sample grids to read; they are embedded in the page as they are. Default 12. */
  readonly sampleLimit?: number
}

/**
 * Reads a run's folder as `repa train` writes it: `config.json`, `metrics.jsonl`, `samples/`, `evaluation.json`. Only the
 * configuration must be there: a run that has just begun has logged nothing yet.
 *
 * @throws Error naming the file that is missing, unreadable or of the wrong form.
 */
export async function readRun(directory: string, { sampleLimit = 12 }: ReadRunOptions = {}): Promise<RunData> {
  const config = await readJson(join(directory, 'config.json'), JsonObjectSchema)
  if (config === undefined) {
    throw new Error(`${directory}: not a run's folder, it has no config.json; give the --out folder of 'repa train'.`)
  }
  return {
    name: basename(resolve(directory)),
    directory: resolve(directory),
    config,
    metrics: await readMetrics(join(directory, 'metrics.jsonl')).catch(ifMissing(EMPTY_METRICS)),
    samples: await readSampleGrids(join(directory, 'samples'), sampleLimit),
    evaluation: await readJson(join(directory, 'evaluation.json'), JsonObjectSchema),
  }
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

const NONE = new Float64Array()
const EMPTY_METRICS: Metrics = {
  step: NONE,
  columns: {
    loss: NONE,
    denoising: NONE,
    vb: NONE,
    alignment: NONE,
    gradNorm: NONE,
    lr: NONE,
    imagesPerSecond: NONE,
    seconds: NONE,
    skipped: NONE,
  },
}

function ifMissing<T>(value: T): (error: unknown) => T {
  return (error) => {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return value
    throw error
  }
}

async function readJson<T>(file: string, schema: z.ZodType<T>): Promise<T | undefined> {
  const text = await readFile(file, 'utf8').catch(ifMissing(undefined))
  if (text === undefined) return undefined
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch (error) {
    throw new Error(`${file}: expected JSON: ${(error as Error).message}.`)
  }
  const checked = schema.safeParse(json)
  if (checked.success) return checked.data
  throw new Error(`${file}: expected a JSON object: ${checked.error.issues[0]!.message}.`)
}
