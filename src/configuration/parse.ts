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

/** Clauses of a message that stand for all: a file of another kind has a problem with every key. */
const MOST_CLAUSES = 8

/** Characters of a value, or of a key, that a message shows. */
const MOST_SHOWN = 60

export interface ParseOptions {
  /** Makes the error where data have a key, or a word, that the schema does not know, of the sentence. Default: a ConfigurationError. */
  readonly unknown?: (sentence: string) => ConfigurationError
}

/**
 * Checks outside data against a schema. `what` names it in the message: a file's path or "the configuration".
 *
 * @throws {ConfigurationError} with one clause for each field that is wrong; unknown keys come with the nearest right spelling
 */
export function parseConfiguration<S extends z.ZodType>(
  schema: S,
  input: unknown,
  what: string,
  { unknown = (sentence) => new ConfigurationError(sentence) }: ParseOptions = {},
): z.output<S> {
  const result = checked(schema, input, what)
  if (result.success) return result.data
  const problems = result.error.issues.flatMap((issue) => describe(issue, input, schema))
  const clauses = problems.slice(0, MOST_CLAUSES).map(({ clause }) => clause())
  if (problems.length > MOST_CLAUSES) clauses.push(`and ${problems.length - MOST_CLAUSES} more`)
  const text = `${what}: ${clauses.join('; ')}`
  const sentence = text.endsWith('?') ? text : `${text}.`
  throw problems.some(({ isUnknown }) => isUnknown) ? unknown(sentence) : new ConfigurationError(sentence)
}

function checked<S extends z.ZodType>(schema: S, input: unknown, what: string): z.ZodSafeParseResult<z.output<S>> {
  try {
    return schema.safeParse(input)
  } catch (cause) {
    // V8's words. A schema of what may lie in its like has a level of the stack for each of the value's.
    if (!(cause instanceof RangeError && cause.message === 'Maximum call stack size exceeded')) throw cause
    throw new ConfigurationError(`${what}: its values lie in each other too deep to be checked.`, { cause })
  }
}

interface Problem {
  /** Said only of those that are shown. */
  readonly clause: () => string
  /** Whether it is a key, or a word, that the schema does not know. */
  readonly isUnknown: boolean
}

function describe(issue: z.core.$ZodIssue, input: unknown, schema: z.ZodType): Problem[] {
  const field = issue.path.map((part) => cut(String(part))).join('.')
  if (issue.code === 'unrecognized_keys') {
    const known = keysAt(schema, issue.path, input)
    return issue.keys.map((key) => ({ clause: () => unknownKey(key, field, known), isUnknown: true }))
  }
  const value = valueAt(input, issue.path)
  // A union that is told apart by a field has no problems of its forms to show where that field names none: its message is all.
  if (issue.code === 'invalid_union' && issue.errors.length > 0) {
    const meant = issue.errors.filter((problems) => !problems.some((problem) => isOfAnotherKind(problem, value)))
    if (meant.length === 1) {
      return meant[0]!.flatMap((inner) => describe({ ...inner, path: [...issue.path, ...inner.path] }, input, schema))
    }
    const clause = () => `${field || 'the value'} is ${shown(value)}, which is none of the forms it may have`
    return [{ clause, isUnknown: false }]
  }
  return [{ clause: () => wrongValue(issue, value, field), isUnknown: typeof value === 'string' && isOfWords(issue) }]
}

/** Whether one of several words was expected, here or of the field that tells a union's forms apart. */
function isOfWords(issue: z.core.$ZodIssue): boolean {
  if (issue.code === 'invalid_value') return issue.values.some((value) => typeof value === 'string')
  return issue.code === 'invalid_union'
}

function unknownKey(key: string, field: string, known: readonly string[]): string {
  const right = nearestOf(key, known)
  const place = field ? ` in ${field}` : ''
  return `there is no setting ${shown(key)}${place}${right ? `; did you mean "${right}"?` : ''}`
}

function wrongValue(issue: z.core.$ZodIssue, value: unknown, field: string): string {
  const message = expectationOf(issue)
  const right =
    issue.code === 'invalid_value' && typeof value === 'string'
      ? nearestOf(
          value,
          issue.values.filter((one) => typeof one === 'string'),
        )
      : undefined
  const advice = right === undefined ? '' : `; did you mean "${right}"?`
  return `${field || 'the value'} is ${shown(value)}: ${message}${advice}`
}

/** Comparing takes time by the product of the lengths, and nobody has mistyped a word of pages. */
function nearestOf(word: string, candidates: readonly string[]): string | undefined {
  return word.length > MOST_SHOWN ? undefined : nearest(word, candidates)
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
  if (typeof value === 'function') return 'a function'
  if (typeof value === 'object' && value !== null && !isPlain(value))
    return `a value of class ${value.constructor.name}`
  return cut(beginningOf(value))
}

const cut = (text: string) => (text.length > MOST_SHOWN ? `${text.slice(0, MOST_SHOWN - 3)}...` : text)

/** A value as JSON writes it, until that is longer than what is shown: however deep or large it is, no more of it is looked at. */
function beginningOf(value: unknown): string {
  let text = ''
  const isLong = () => text.length > MOST_SHOWN
  const write = (item: unknown): void => {
    if (typeof item === 'string') text += JSON.stringify(item.slice(0, MOST_SHOWN + 1))
    // JSON has neither NaN nor a bigint, and of what a program made it would have the insides.
    else if (typeof item !== 'object' || item === null) text += String(item)
    else if (!isPlain(item)) text += item.constructor.name
    else if (Array.isArray(item)) writeItems('[', item.keys(), ']', (i) => write(item[i]))
    else writeItems('{', keysOf(item), '}', (key) => writeMember(key, (item as Record<string, unknown>)[key]))
  }
  const writeItems = <Key>(open: string, keys: Iterable<Key>, close: string, each: (key: Key) => void): void => {
    text += open
    let separator = ''
    for (const key of keys) {
      if (isLong()) return
      text += separator
      each(key)
      separator = ','
    }
    text += close
  }
  const writeMember = (key: string, item: unknown): void => {
    write(key)
    text += ':'
    write(item)
  }
  write(value)
  return text
}

/** One after the other: a list of all may be long. */
function* keysOf(value: object): Generator<string> {
  for (const key in value) if (Object.hasOwn(value, key)) yield key
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
