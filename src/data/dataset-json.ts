import * as z from 'zod'
import { valueOfJson } from '../configuration/json.ts'

/** The file that names the images (or latents) of a data set and their labels, as the reference dataset tool writes it. */
const datasetJson = z.strictObject({
  labels: z.array(z.tuple([z.string().min(1), z.int().nonnegative()])).nullable(),
})

/** File names, relative to the folder of dataset.json, with their class indices. */
export type Labels = readonly (readonly [name: string, label: number])[]

/** Parses a dataset.json; null is the reference's way to say that there are no labels. */
export function parseDatasetJson(text: string, file: string): Labels | null {
  const value = valueOfFile(text, file)
  // zod would copy a million entries, each with room to grow; it is asked for what is wrong.
  return areLabels(value) ? value.labels : fitting(datasetJson, value, file).labels
}

/** Whether a value is what the schema takes, with labels. */
function areLabels(value: unknown): value is { readonly labels: Labels } {
  if (typeof value !== 'object' || value === null || !('labels' in value)) return false
  const { labels } = value
  return Object.keys(value).length === 1 && Array.isArray(labels) && labels.every(isLabel)
}

function isLabel(entry: unknown): entry is Labels[number] {
  if (!Array.isArray(entry) || entry.length !== 2) return false
  const [name, label] = entry as readonly unknown[]
  return typeof name === 'string' && name !== '' && Number.isSafeInteger(label) && (label as number) >= 0
}

/** The labels by what tells the images apart. Throws where one image has two: the last would count, without a word. */
export function labelsBy<K>(labels: Labels, file: string, keyOf: (name: string) => K): Map<K, number> {
  const labelOf = new Map<K, number>()
  for (const [i, [name, label]] of labels.entries()) {
    const key = keyOf(name)
    const before = labelOf.get(key)
    if (before !== undefined && before !== label) {
      const [same] = labels.slice(0, i).findLast(([other]) => keyOf(other) === key)!
      throw new Error(
        `'${file}' gives '${name}' the label ${label} and '${same}', which is the same image, the label ${before}.`,
      )
    }
    labelOf.set(key, label)
  }
  return labelOf
}

/** Spaced as Python's `json.dump` does, so that the file is byte for byte the reference tool's. */
export function formatDatasetJson(labels: Labels): string {
  return `{"labels": [${labels.map(([name, label]) => `[${JSON.stringify(name)}, ${label}]`).join(', ')}]}`
}

/** Parses JSON against a schema. The error names the file, the place in it and what was expected there. */
export function parseJson<T>(schema: z.ZodType<T>, text: string, file: string): T {
  return fitting(schema, valueOfFile(text, file), file)
}

function valueOfFile(text: string, file: string): unknown {
  try {
    return valueOfJson(text)
  } catch (error) {
    throw new Error(`Cannot read '${file}': it is not JSON (${(error as Error).message}).`, { cause: error })
  }
}

/**
 * What fits a schema, of a file's JSON. The error is that of `parseJson`.
 *
 * @param at where in the file the value stands, where it is a part
 */
export function fitting<T>(schema: z.ZodType<T>, value: unknown, file: string, at: readonly PropertyKey[] = []): T {
  const result = schema.safeParse(value)
  if (result.success) return result.data
  const { path, message } = result.error.issues[0]!
  const place = [...at, ...path].join('.') || 'the top level'
  throw new Error(`Cannot read '${file}': at ${place}: ${message}.`)
}
