import { readdir, stat } from 'node:fs/promises'
import { basename, join, resolve } from 'node:path'
import { FileAccessError } from '../../formats/errors.ts'
import { RUN_LAYOUT } from '../../training/run-layout.ts'
import { readEvaluations } from '../evaluations.ts'
import { METRICS, type MetricName, type Metrics, NO_METRICS } from '../metrics-table.ts'
import { type RunData, readConfig } from '../run.ts'
import { chooseSteps, listSampleSteps, readSampleGrids } from '../sample-grids.ts'
import { MetricsFollower } from './metrics-follower.ts'

/** What one look at the runs' folders found. */
export interface RunsChange {
  /** Of each run, the first step from which its metrics are not what they were; undefined where nothing is new. */
  readonly from: readonly (number | undefined)[]
  /** A run logs what it did not before: there are curves that were not there. */
  readonly curves: boolean
  /** Sample grids, evaluations or configurations are new. */
  readonly files: boolean
  /** What cannot be read, in sentences; what was read before stands. */
  readonly problem: string
}

/** Runs that are looked at again and again while they train. */
export class WatchedRuns {
  readonly #directories: readonly string[]
  readonly #sampleLimit: number
  readonly #followers: readonly MetricsFollower[]
  #runs: readonly RunData[]
  /** Names, sizes and times of all files but the logs, as they were when they were last read. */
  #files = ''
  /** Something could not be read, maybe because it was being written. */
  #unread = false
  /** What each run logs. */
  #curves = ''

  private constructor(directories: readonly string[], sampleLimit: number, runs: readonly RunData[]) {
    this.#directories = directories
    this.#sampleLimit = sampleLimit
    this.#runs = runs
    this.#followers = directories.map((directory) => new MetricsFollower(join(directory, RUN_LAYOUT.metrics)))
  }

  /** @throws Error where a folder is none of a run. */
  static async open(directories: readonly string[], sampleLimit: number): Promise<WatchedRuns> {
    const runs: RunData[] = []
    for (const directory of directories) {
      runs.push({
        name: basename(resolve(directory)),
        directory: resolve(directory),
        config: await readConfig(directory),
        metrics: NO_METRICS,
        samples: { shown: [], available: 0 },
        evaluations: [],
      })
    }
    return new WatchedRuns(directories, sampleLimit, runs)
  }

  get runs(): readonly RunData[] {
    return this.#runs
  }

  async poll(): Promise<RunsChange> {
    const problems = new Set<string>()
    const note = (error: unknown) => problems.add(sentenceOf(error))
    const from: (number | undefined)[] = []
    for (const follower of this.#followers) {
      const change = await follower.poll()
      from.push(change.from)
      if (change.problem !== undefined) problems.add(change.problem)
    }
    this.#runs = this.#runs.map((run, i) => ({ ...run, metrics: this.#followers[i]!.metrics }))
    // Of columns that a run never logs every value is looked at.
    const hasLogged = from.some((step) => step !== undefined)
    const curves = hasLogged ? JSON.stringify(this.#runs.map(({ metrics }) => loggedMetrics(metrics))) : this.#curves
    const hasNewCurves = curves !== this.#curves
    this.#curves = curves
    const files = (await Promise.all(this.#directories.map(signatureOf))).join('\n')
    let hasNewFiles = false
    if (files !== this.#files || this.#unread) {
      hasNewFiles = await this.#readFiles(note)
      this.#files = files
      this.#unread = problems.size > 0
    }
    return { from, curves: hasNewCurves, files: hasNewFiles, problem: [...problems].join(' ') }
  }

  /** Reads all but the logs; of what cannot be read, what was read before stands. Whether anything is new. */
  async #readFiles(note: (error: unknown) => void): Promise<boolean> {
    const before = this.#runs
    const listed = await Promise.all(
      this.#directories.map((directory) =>
        listSampleSteps(join(directory, RUN_LAYOUT.samples)).catch((error: unknown) => {
          note(error)
          return undefined
        }),
      ),
    )
    const available = listed.map((steps, i) => steps ?? before[i]!.samples.shown.map(({ step }) => step))
    const chosen = chooseSteps(available, this.#sampleLimit)
    const runs: RunData[] = []
    for (const [i, run] of before.entries()) {
      const directory = this.#directories[i]!
      const steps = available[i]!
      const kept =
        <T>(value: T) =>
        (error: unknown): T => {
          note(error)
          return value
        }
      runs.push({
        ...run,
        // A run that is begun again has no configuration for a moment.
        config: await readConfig(directory).catch(() => run.config),
        samples: listed[i]
          ? await readSampleGrids(
              join(directory, RUN_LAYOUT.samples),
              steps.filter((step) => chosen.has(step)),
            ).then((shown) => ({ shown, available: steps.length }), kept(run.samples))
          : run.samples,
        evaluations: await readEvaluations(join(directory, RUN_LAYOUT.evaluation)).catch(kept(run.evaluations)),
      })
    }
    this.#runs = runs
    return runs.some((run, i) => !sameFiles(run, before[i]!))
  }
}

function sameFiles(run: RunData, before: RunData): boolean {
  const [a, b] = [run.samples, before.samples]
  return (
    a.available === b.available &&
    a.shown.length === b.shown.length &&
    a.shown.every(({ step, png }, i) => step === b.shown[i]!.step && Buffer.compare(png, b.shown[i]!.png) === 0) &&
    JSON.stringify([run.config, run.evaluations]) === JSON.stringify([before.config, before.evaluations])
  )
}

/** What is thrown where a file cannot be read; the file system's own errors are no sentences, but name the file. */
function sentenceOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error)
  const { path, syscall } = error as NodeJS.ErrnoException
  const isOfFileSystem = path !== undefined && syscall !== undefined
  return isOfFileSystem ? new FileAccessError('read', path, error).message : error.message
}

function loggedMetrics({ columns }: Metrics): MetricName[] {
  return METRICS.filter((name) => columns[name].some(Number.isFinite))
}

/** Changes whenever a file of the run, but for its log, is written. */
async function signatureOf(directory: string): Promise<string> {
  const parts: string[] = []
  for (const folder of [RUN_LAYOUT.samples, RUN_LAYOUT.evaluation]) {
    const names = await readdir(join(directory, folder)).catch(() => [])
    for (const name of names.sort()) parts.push(await signatureOfFile(join(directory, folder, name)))
  }
  return [await signatureOfFile(join(directory, RUN_LAYOUT.configuration)), ...parts].join('\n')
}

async function signatureOfFile(file: string): Promise<string> {
  return stat(file).then(
    ({ size, mtimeMs }) => `${file} ${size} ${mtimeMs}`,
    () => '',
  )
}
