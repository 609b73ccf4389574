import type * as z from 'zod'
import { nearest } from './nearest.ts'

/** A configuration that does not fit its schema. The message names every field, its value and what was expected. */
export class ConfigurationError extends Error {
  override readonly name = 'ConfigurationError'
}

/**
 * Checks outside data against a schema. `what` names it in the message: a file's path or "the configuration".
 *
 * @throws {ConfigurationError} with one clause for each field that is wrong; unknown keys come with the nearest right spelling
 */
export function parseConfiguration<S extends z.ZodType>(schema: S, input: unknown, what: string): z.output<S> {
  const result = schema.safeParse(input)
  if (result.success) return result.data
  const clauses = result.error.issues.flatMap((issue) => describe(issue, input, schema))
  const sentence = `${what}: ${clauses.join('; ')}`
  throw new ConfigurationError(sentence.endsWith('?') ? sentence : `${sentence}.`)
}

function describe(issue: z.core.$ZodIssue, input: unknown, schema: z.ZodType): string[] {
  const field = issue.path.join('.')
  if (issue.code === 'unrecognized_keys') {
    const known = keysAt(schema, issue.path)
    return issue.keys.map((key) => {
      const right = nearest(key, known)
      const place = field ? ` in ${field}` : ''
      return `there is no setting "${key}"${place}${right ? `; did you mean "${right}"?` : ''}`
    })
  }
  if (issue.code === 'invalid_union') {
    return [`${field || 'the value'} is ${shown(valueAt(input, issue.path))}, which is none of the forms it may have`]
  }
  const message = issue.message.charAt(0).toLowerCase() + issue.message.slice(1)
  return [`${field || 'the value'} is ${shown(valueAt(input, issue.path))}: ${message}`]
}

function valueAt(input: unknown, path: readonly PropertyKey[]): unknown {
  let value = input
  for (const key of path) value = (value as Record<PropertyKey, unknown> | undefined)?.[key]
  return value
}

function shown(value: unknown): string {
  if (value === undefined) return 'missing'
  const text = JSON.stringify(value) ?? String(value)
  return text.length > 60 ? `${text.slice(0, 57)}...` : text
}

/** The keys of the object schema at a path, as far as the way there is through plain objects. */
function keysAt(schema: z.ZodType, path: readonly PropertyKey[]): string[] {
  let shape = shapeOf(schema)
  for (const key of path) {
    const next = shape?.[String(key)]
    shape = next ? shapeOf(next) : undefined
  }
  return Object.keys(shape ?? {})
}

function shapeOf(schema: z.ZodType): Record<string, z.ZodType> | undefined {
  const inner = schema as z.ZodType & { shape?: Record<string, z.ZodType>; unwrap?: () => z.ZodType }
  if (inner.shape) return inner.shape
  return inner.unwrap ? shapeOf(inner.unwrap()) : undefined
}
