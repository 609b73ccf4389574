import type * as z from 'zod'
import { nearest } from './nearest.ts'

/** A configuration that does not fit its schema. The message names every field, its value and what was expected. */
export class ConfigurationError extends Error {
  override readonly name = 'ConfigurationError'
}

/** A schema that is made where it is first needed, for making one takes time and a program that only loads the library needs none. */
export function whenNeeded<Schema extends z.ZodType>(make: () => Schema): () => Schema {
  let made: Schema | undefined
  return () => {
    made ??= make()
    return made
  }
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
    const known = keysAt(schema, issue.path, input)
    return issue.keys.map((key) => {
      const right = nearest(key, known)
      const place = field ? ` in ${field}` : ''
      return `there is no setting "${key}"${place}${right ? `; did you mean "${right}"?` : ''}`
    })
  }
  const value = valueAt(input, issue.path)
  // A union that is told apart by a field has no problems of its forms to show where that field names none: its message is all.
  if (issue.code === 'invalid_union' && issue.errors.length > 0) {
    const meant = issue.errors.filter((problems) => !problems.some((problem) => isOfAnotherKind(problem, value)))
    if (meant.length === 1) {
      return meant[0]!.flatMap((inner) => describe({ ...inner, path: [...issue.path, ...inner.path] }, input, schema))
    }
    return [`${field || 'the value'} is ${shown(value)}, which is none of the forms it may have`]
  }
  const message = expectationOf(issue)
  const right =
    issue.code === 'invalid_value' && typeof value === 'string' ? nearest(value, issue.values.map(String)) : undefined
  const advice = right === undefined ? '' : `; did you mean "${right}"?`
  return [`${field || 'the value'} is ${shown(value)}: ${message}${advice}`]
}

/** What an issue's message says was expected: that the value is wrong, and what came, the sentence says already. */
function expectationOf({ message }: z.core.$ZodIssue): string {
  const expectation = message.replace(/^(Invalid (input|option)|Too (small|big)): /, '').replace(/, received \w+$/, '')
  return expectation.charAt(0).toLowerCase() + expectation.slice(1)
}

/** Whether a value is not even an attempt at the form of a union that has this problem with it. */
function isOfAnotherKind({ code, path }: z.core.$ZodIssue, value: unknown): boolean {
  return path.length === 0 && (code === 'invalid_type' || (code === 'invalid_value' && typeof value === 'object'))
}

function valueAt(input: unknown, path: readonly PropertyKey[]): unknown {
  let value = input
  for (const key of path) value = (value as Record<PropertyKey, unknown> | undefined)?.[key]
  return value
}

function shown(value: unknown): string {
  if (value === undefined) return 'missing'
  // JSON has no NaN, and of what a program made it would have the insides.
  if (typeof value === 'number' || typeof value === 'bigint') return String(value)
  if (typeof value === 'function') return 'a function'
  if (typeof value === 'object' && value !== null && !isPlain(value))
    return `a value of class ${value.constructor.name}`
  const text = JSON.stringify(value) ?? String(value)
  return text.length > 60 ? `${text.slice(0, 57)}...` : text
}

function isPlain(value: object): boolean {
  const prototype = Object.getPrototypeOf(value)
  return Array.isArray(value) || prototype === Object.prototype || prototype === null
}

/** The keys of the object schema at a path, as far as the way there is through objects, unions that hold one, and those that a field tells apart. */
function keysAt(schema: z.ZodType, path: readonly PropertyKey[], input: unknown): string[] {
  let shape = shapeOf(schema, input)
  for (const [i, key] of path.entries()) {
    const next = shape?.[String(key)]
    shape = next ? shapeOf(next, valueAt(input, path.slice(0, i + 1))) : undefined
  }
  return Object.keys(shape ?? {})
}

function shapeOf(schema: z.ZodType, value: unknown): Record<string, z.ZodType> | undefined {
  const inner = schema as z.ZodType & {
    shape?: Record<string, z.ZodType>
    options?: readonly z.ZodType[]
    def: { discriminator?: string }
    unwrap?: () => z.ZodType
  }
  if (inner.shape) return inner.shape
  if (!inner.options) return inner.unwrap ? shapeOf(inner.unwrap(), value) : undefined
  const shapes = inner.options.map((option) => shapeOf(option, value)).filter((shape) => shape !== undefined)
  const field = inner.def.discriminator
  if (field === undefined) return shapes[0]
  return shapes.find((shape) => shape[field]?.safeParse(valueAt(value, [field])).success) ?? shapes[0]
}
