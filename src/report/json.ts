import * as z from 'zod'

/** Any JSON value. */
export type Json = string | number | boolean | null | readonly Json[] | { readonly [key: string]: Json }
export type JsonObject = Readonly<Record<string, Json>>

/** An object of arbitrary JSON, as a configuration is. */
export const JsonObjectSchema: z.ZodType<JsonObject> = z.record(z.string(), z.json())

/**
 * Leaves of nested objects under their dotted paths, in the file's order: `{ optimizer: { lr: 1 } }` → `optimizer.lr`. Arrays
 * and empty objects are leaves.
 */
export function flattenJson(object: JsonObject, prefix = ''): Map<string, Json> {
  const leaves = new Map<string, Json>()
  for (const [key, value] of Object.entries(object)) {
    const path = prefix + key
    if (isObject(value) && Object.keys(value).length > 0) {
      for (const [leaf, leafValue] of flattenJson(value, `${path}.`)) leaves.set(leaf, leafValue)
    } else {
      leaves.set(path, value)
    }
  }
  return leaves
}

export function isObject(value: Json | undefined): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
