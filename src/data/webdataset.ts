import { basename, dirname, extname, join } from 'node:path/posix'
import { FileFormatError } from '../formats/errors.ts'

/**
 * WebDataset's convention: the files of one sample share their name up to the first dot, its key, and what follows says what
 * each is: `000123.jpg` with `000123.cls`, which holds the class as decimal digits, or `000123.json` with an integer `label`.
 */
export type SampleLabels = ReadonlyMap<string, number>

/** Members of a sample's JSON that hold its class, as `webdataset` and the data sets of timm name it. */
const JSON_LABELS = ['label', 'cls', 'class'] as const

export interface SampleLabel {
  readonly sample: string
  readonly label: number
  /** Whether the file holds nothing but the label. */
  readonly isOnly: boolean
}

/** The sample that a file belongs to, folders included, and what follows its key in lower case: `jpg`. */
export function sampleOf(name: string): { readonly sample: string; readonly extension: string } {
  const base = basename(name)
  const dot = base.indexOf('.')
  const key = dot < 0 ? base : base.slice(0, dot)
  return { sample: join(dirname(name), key), extension: dot < 0 ? '' : base.slice(dot + 1).toLowerCase() }
}

export function isSampleLabelFile(name: string): boolean {
  return ['.cls', '.json'].includes(extname(name)) && basename(name) !== 'dataset.json'
}

/**
 * The label that a `.cls` or `.json` file gives; undefined for JSON without one.
 *
 * @throws {FileFormatError} for a `.cls` file that holds no class number, and for a `.json` file that is none
 */
export function sampleLabelOf(archive: string, name: string, text: string): SampleLabel | undefined {
  const { sample } = sampleOf(name)
  const what = `the label file ${JSON.stringify(name)}`
  if (extname(name) === '.cls') {
    if (/^\s*\d{1,9}\s*$/.test(text)) return { sample, label: Number(text), isOnly: true }
    const shown = JSON.stringify(text.slice(0, 40))
    throw new FileFormatError(archive, `${what} holds ${shown}; the number of a class, from 0, was expected.`)
  }
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch (error) {
    throw new FileFormatError(archive, `${what} is not JSON (${(error as Error).message}).`, { cause: error })
  }
  if (typeof json !== 'object' || json === null) return undefined
  for (const key of JSON_LABELS) {
    const value = (json as Readonly<Record<string, unknown>>)[key]
    if (typeof value === 'number' && Number.isInteger(value) && value >= 0) {
      return { sample, label: value, isOnly: false }
    }
  }
  return undefined
}
