import { normalize } from 'node:path'
import type { FidEvaluation } from './evaluations.ts'
import { groupBy } from './grouping.ts'
import type { Json, JsonObject } from './json.ts'
import { rankOfSetting, settingInWords } from './sampling-words.ts'
import { shortPaths } from './short-paths.ts'

/** A measurement of a run's samples. */
export interface Measured {
  readonly run: number
  readonly evaluation: FidEvaluation
}

/** Measurements whose samples were made in one way, so that they can be compared. */
export interface WayOfSampling {
  /** What tells it from the others; '' where nothing needs to. */
  readonly name: string
  readonly measured: readonly Measured[]
}

/** Settings that are paths. */
const FILES: readonly string[] = ['samples', 'autoencoder', 'guide']

/** Settings of an evaluation's samples, by their names. */
interface Way {
  readonly settings: JsonObject
  readonly measured: readonly Measured[]
}

/**
 * Sorts measurements by how their samples were made, and names the ways by what differs between them, and by that alone. The distance
 * depends on the number of samples too. Where nobody noted the settings, and a run has two measurements of one step, the samples' files tell
 * them apart.
 */
export function waysOfSampling(all: readonly Measured[]): WayOfSampling[] {
  const ambiguous = ambiguousRuns(all)
  const keyed = all.map((measured) => ({ measured, settings: settingsOf(measured, ambiguous.has(measured.run)) }))
  const ways = groupBy(keyed, ({ settings }) => JSON.stringify(Object.entries(settings).sort())).map((group) => ({
    settings: group[0]!.settings,
    measured: group.map(({ measured }) => measured),
  }))
  const ordered = inOrder(ways)
  const names = namesOf(ordered)
  return ordered.map(({ measured }, i) => ({ name: names[i]!, measured }))
}

function settingsOf({ evaluation }: Measured, byFile: boolean): JsonObject {
  const { sampling, samples, sampleImages } = evaluation
  const files = { ...(sampling ?? (byFile && samples !== undefined ? { samples } : {})) }
  for (const key of FILES) if (typeof files[key] === 'string') files[key] = normalize(files[key])
  return { ...files, sampleImages, isUnrecorded: sampling === undefined }
}

/** Runs of which several files were measured at one step with nobody having noted what tells them apart. */
function ambiguousRuns(all: readonly Measured[]): ReadonlySet<number> {
  const unrecorded = all.filter(({ evaluation }) => evaluation.sampling === undefined)
  const perStep = groupBy(unrecorded, ({ run, evaluation: { step, sampleImages } }) =>
    JSON.stringify([run, step ?? null, sampleImages]),
  )
  const several = perStep.filter((group) => new Set(group.map(({ evaluation }) => evaluation.samples)).size > 1)
  return new Set(several.map((group) => group[0]!.run))
}

/** Settings of which there are two values; `orNone`: or which some of the ways do not have. In the order in which they are named. */
function differingKeys(ways: readonly Way[], orNone: boolean): string[] {
  const keys = [...new Set(ways.flatMap(({ settings }) => Object.keys(settings)))]
  const valuesOf = (key: string) =>
    ways.flatMap(({ settings }) => (orNone || key in settings ? (JSON.stringify(settings[key]) ?? '') : []))
  return keys
    .filter((key) => new Set(valuesOf(key)).size > 1)
    .sort((a, b) => rankOfSetting(a) - rankOfSetting(b) || (a < b ? -1 : 1))
}

function inOrder(ways: readonly Way[]): Way[] {
  const keys = differingKeys(ways, true)
  return [...ways].sort((a, b) => {
    const key = keys.find((own) => compareValues(a.settings[own], b.settings[own]) !== 0)
    return key === undefined ? 0 : compareValues(a.settings[key], b.settings[key])
  })
}

/** Numbers by their size; null before all others, and what is not there behind them. */
function compareValues(a: Json | undefined, b: Json | undefined): number {
  const [first, second] = [rankOfValue(a), rankOfValue(b)]
  if (first !== second) return first - second
  if (typeof a === 'number' && typeof b === 'number') return a - b
  const [left, right] = [JSON.stringify(a) ?? '', JSON.stringify(b) ?? '']
  return left < right ? -1 : left > right ? 1 : 0
}

const rankOfValue = (value: Json | undefined) =>
  value === null ? 0 : typeof value === 'number' ? 1 : value === undefined ? 3 : 2

/** What one way has and another has not (an ODE its solver) follows from what is named already, but where nothing else differs. */
function namesOf(ways: readonly Way[]): string[] {
  const names = namesBy(ways, differingKeys(ways, false))
  return new Set(names).size === ways.length ? names : namesBy(ways, differingKeys(ways, true))
}

function namesBy(ways: readonly Way[], keys: readonly string[]): string[] {
  const files = shortPaths(
    ways.flatMap(({ settings }) => FILES.flatMap((key) => (typeof settings[key] === 'string' ? settings[key] : []))),
  )
  const inWords = (key: string, value: Json) =>
    settingInWords(key, FILES.includes(key) && typeof value === 'string' ? files.get(value)! : value)
  return ways.map(({ settings }) =>
    keys
      .flatMap((key) => (key in settings ? inWords(key, settings[key]!) : []))
      .filter((words) => words !== '')
      .join(', '),
  )
}
