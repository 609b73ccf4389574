import { basename, dirname, extname, join } from 'node:path/posix'
import { FileFormatError } from '../formats/errors.ts'

/**
 * WebDataset's convention: the files of one sample share their name up to the first dot, its key, and what follows says what
 * each is: `000123.jpg` with `000123.cls`, which holds the class as decimal digits, or `000123.json` with an integer `label`.
 */
export type SampleLabels = ReadonlyMap<string, number>

/** Members of a sample's JSON that hold its class, as `webdataset` and the data sets of timm name it. */
const JSON_LABELS = ['label', 'cls', 'class'] as const

/** The sample that a file belongs to, folders included, and what follows its key in lower case: `jpg`. */
export function sampleOf(name: string): { readonly sample: string; readonly extension: string } {
  const base = basename(name)
  const dot = base.indexOf('.')
  const key = dot < 0 ? base : base.slice(0, dot)
  return { sample: join(dirname(name), key), extension: dot < 0 ? '' : base.slice(dot + 1).toLowerCase() }
}

/** The files of a sample that may hold its label. */
export function sampleLabelFile(name: string): 'cls' | 'json' | undefined {
  if (basename(name) === 'dataset.json') return undefined
  const extension = extname(name)
  return extension === '.cls' ? 'cls' : extension === '.json' ? 'json' : undefined
}

/** The label that the text of a `.cls` file is. @throws {FileFormatError} where it is no class number */
export function labelOfCls(archive: string, name: string, text: string): number {
  if (/^\s*\d{1,9}\s*$/.test(text)) return Number(text)
  const shown = JSON.stringify(text.slice(0, 40))
  throw new FileFormatError(
    archive,
    `the label file ${JSON.stringify(name)} holds ${shown}; the number of a class, from 0, was expected.`,
  )
}

/** What a `.json` file holds. @throws {FileFormatError} where it is none */
export function parseSample(archive: string, name: string, text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (error) {
    const problem = `the label file ${JSON.stringify(name)} is not JSON (${(error as Error).message}).`
    throw new FileFormatError(archive, problem, { cause: error })
  }
}

/** The label among what a `.json` file holds; undefined where there is none. */
export function labelOfSample(json: unknown): number | undefined {
  for (const key of JSON_LABELS) {
    const value = fieldOf(json, key)
    if (typeof value === 'number' && Number.isInteger(value) && value >= 0) return value
  }
  return undefined
}

/** A field of an object; undefined where there is none, or the value is no object. */
export function fieldOf(json: unknown, field: string): unknown {
  return typeof json === 'object' && json !== null ? (json as Readonly<Record<string, unknown>>)[field] : undefined
}
