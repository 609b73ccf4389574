import { z } from 'zod'
import { valueOfJson } from '../configuration/json.ts'

/** The file that names the images (or latents) of a data set and their labels, as the reference dataset tool writes it. */
const datasetJson = z.strictObject({
  labels: z.array(z.tuple([z.string().min(1), z.int().nonnegative()])).nullable(),
})

/** File names, relative to the folder of dataset.json, with their class indices. */
export type Labels = readonly (readonly [name: string, label: number])[]

/** Parses a dataset.json; null is the reference's way to say that there are no labels. */
export function parseDatasetJson(text: string, file: string): Labels | null {
  return parseJson(datasetJson, text, file).labels
}

/** The labels by what tells the images apart. Throws where one image has two: the last would count, without a word. */
export function labelsBy<K>(labels: Labels, file: string, keyOf: (name: string) => K): Map<K, number> {
  const entries = new Map<K, Labels[number]>()
  for (const entry of labels) {
    const [name, label] = entry
    const first = entries.get(keyOf(name))
    if (first !== undefined && first[1] !== label) {
      throw new Error(
        `'${file}' gives '${name}' the label ${label} and '${first[0]}', which is the same image, the label ${first[1]}.`,
      )
    }
    entries.set(keyOf(name), entry)
  }
  return new Map([...entries].map(([key, [, label]]) => [key, label]))
}

/** Spaced as Python's `json.dump` does, so that the file is byte for byte the reference tool's. */
export function formatDatasetJson(labels: Labels): string {
  return `{"labels": [${labels.map(([name, label]) => `[${JSON.stringify(name)}, ${label}]`).join(', ')}]}`
}

/** Parses JSON against a schema. The error names the file, the place in it and what was expected there. */
export function parseJson<T>(schema: z.ZodType<T>, text: string, file: string): T {
  let value: unknown
  try {
    value = valueOfJson(text)
  } catch (error) {
    throw new Error(`Cannot read '${file}': it is not JSON (${(error as Error).message}).`, { cause: error })
  }
  return fitting(schema, value, file)
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
