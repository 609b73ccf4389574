import { nearest } from '../configuration/nearest.ts'
import type { Command } from './command.ts'
import { UsageError } from './failure.ts'
import { GLOBAL_OPTIONS } from './global-options.ts'
import { usageOf } from './help.ts'
import {
  expectationOf,
  flagOf,
  isInRange,
  type ListOption,
  type Option,
  type OptionTable,
  placeholderOf,
} from './option.ts'

/** A command line, read and checked. */
export interface ParsedCommandLine {
  /** The command's own positionals and options, by their camelCase names. */
  readonly args: Readonly<Record<string, unknown>>
  readonly device: string
  readonly seed: number | undefined
  readonly json: boolean
  readonly quiet: boolean
}

/**
 * Reads the words that follow a command's name. `--flag value`, `--flag=value`, `--flag` and `--no-flag` for booleans; of
 * a flag given twice the last counts, unless it is repeated; after `--` everything is positional.
 *
 * @throws UsageError, one sentence that names the flag, the value and what was expected.
 */
export function parseCommandLine(command: Command, words: readonly string[]): ParsedCommandLine {
  const table: OptionTable = { ...command.options, ...GLOBAL_OPTIONS }
  const names = new Map(Object.keys(table).map((name) => [flagOf(name), name]))
  const values = new Map<string, unknown>()
  const positionals: string[] = []

  for (let i = 0; i < words.length; i++) {
    const word = words[i]!
    if (word === '--') {
      positionals.push(...words.slice(i + 1))
      break
    }
    // A lone dash and a negative number are values, not flags.
    if (!word.startsWith('-') || word === '-' || /^-\.?\d/.test(word)) {
      positionals.push(word)
      continue
    }
    const equals = word.indexOf('=')
    const flag = equals < 0 ? word : word.slice(0, equals)
    let text = equals < 0 ? undefined : word.slice(equals + 1)
    const { name, negated } = lookUp(flag, names, table, command)
    const option = table[name]!

    if (option.type === 'boolean') {
      if (negated && text !== undefined) throw new UsageError(`${flag} takes no value, got '${text}'.`)
      values.set(name, negated ? false : readBoolean(text, flag))
      continue
    }
    if (text === undefined) {
      const next = words[i + 1]
      if (next === undefined || next.startsWith('--')) {
        throw new UsageError(`${flag} needs a value: ${flag} ${placeholderOf(option)}, ${expectationOf(option)}.`)
      }
      text = next
      i++
    }
    const value = readValue(text, option, flag)
    if (!option.repeated) values.set(name, value)
    else values.set(name, [...((values.get(name) as unknown[] | undefined) ?? []), ...[value].flat()])
  }

  const args: Record<string, unknown> = { ...assignPositionals(command, positionals) }
  const result = (name: string, option: Option) => {
    if (values.has(name)) return values.get(name)
    if (option.required) throw new UsageError(`${flagOf(name)} ${placeholderOf(option)} is required.`)
    return option.default ?? (option.repeated ? [] : undefined)
  }
  for (const [name, option] of Object.entries(command.options)) args[name] = result(name, option)
  return {
    args,
    device: result('device', GLOBAL_OPTIONS.device) as string,
    seed: result('seed', GLOBAL_OPTIONS.seed) as number | undefined,
    json: result('json', GLOBAL_OPTIONS.json) as boolean,
    quiet: result('quiet', GLOBAL_OPTIONS.quiet) as boolean,
  }
}

function lookUp(
  flag: string,
  names: ReadonlyMap<string, string>,
  table: OptionTable,
  command: Command,
): { name: string; negated: boolean } {
  const exact = names.get(flag)
  if (exact !== undefined) return { name: exact, negated: false }
  if (flag.startsWith('--no-')) {
    const name = names.get(`--${flag.slice('--no-'.length)}`)
    if (name !== undefined) {
      const option = table[name]!
      if (option.type === 'boolean') return { name, negated: true }
      throw new UsageError(`there is no option ${flag}; ${flagOf(name)} ${placeholderOf(option)} takes a value.`)
    }
  }
  const spellings = [...names.keys()]
  for (const [spelling, name] of names) if (table[name]!.type === 'boolean') spellings.push(`--no-${spelling.slice(2)}`)
  // The dashes are common to all flags, so they must not count as likeness.
  const meant = nearest(
    flag.replace(/^-+/, ''),
    spellings.map((spelling) => spelling.slice(2)),
  )
  const advice = meant === undefined ? `'repa ${command.name} --help' lists its options.` : `did you mean --${meant}?`
  throw new UsageError(`there is no option ${flag}; ${advice}`)
}

function readBoolean(text: string | undefined, flag: string): boolean {
  if (text === undefined || text === 'true') return true
  if (text === 'false') return false
  throw new UsageError(`${flag}: expected true or false, got '${text}'.`)
}

function readValue(text: string, option: Exclude<Option, { type: 'boolean' }>, flag: string): unknown {
  const fail = (advice = '') => new UsageError(`${flag}: expected ${expectationOf(option)}, got '${text}'${advice}.`)
  let value: unknown
  switch (option.type) {
    case 'integer':
    case 'number': {
      const number = readNumber(text, option.type)
      if (number === undefined || !isInRange(number, option)) throw fail()
      value = number
      break
    }
    case 'string':
      if (text === '' || (option.pattern !== undefined && !option.pattern.test(text))) throw fail()
      value = text
      break
    case 'enum':
      if (!option.values.includes(text)) {
        const meant = nearest(text, option.values)
        throw fail(meant === undefined ? '' : ` (did you mean ${meant}?)`)
      }
      value = text
      break
    case 'list':
      value = readList(text, option)
      if (value === undefined) throw fail()
      break
    default:
      return option satisfies never
  }
  if (option.schema === undefined) return value
  const checked = option.schema.safeParse(value)
  if (checked.success) return checked.data
  throw new UsageError(`${flag} got '${text}': ${checked.error.issues[0]?.message ?? 'the value was refused'}.`)
}

/** Decimal notation, an exponent, and underscores between digits (`400_000`); not hexadecimal, not an empty string. */
function readNumber(text: string, type: 'integer' | 'number'): number | undefined {
  if (!/^[+-]?(\d+(_\d+)*(\.\d*)?|\.\d+)(e[+-]?\d+)?$/i.test(text)) return undefined
  const number = Number(text.replaceAll('_', ''))
  return (type === 'integer' ? Number.isSafeInteger(number) : Number.isFinite(number)) ? number : undefined
}

function readList(text: string, option: ListOption): (string | number)[] | undefined {
  const values: (string | number)[] = []
  for (const part of text.split(',')) {
    const item = part.trim()
    const value = option.items === undefined || option.items === 'string' ? item : readNumber(item, option.items)
    if (value === undefined || value === '') return undefined
    values.push(value)
  }
  return values
}

function assignPositionals(command: Command, words: readonly string[]): Record<string, unknown> {
  const assigned: Record<string, unknown> = {}
  let taken = 0
  for (const [name, { placeholder, optional, repeated }] of Object.entries(command.positionals)) {
    if (taken >= words.length && !optional) {
      throw new UsageError(`${placeholder} is missing; usage: ${usageOf(command)}.`)
    }
    if (repeated) {
      assigned[name] = words.slice(taken)
      taken = words.length
    } else {
      assigned[name] = words[taken++]
    }
  }
  if (taken < words.length) {
    throw new UsageError(`the argument '${words[taken]}' is one too many; usage: ${usageOf(command)}.`)
  }
  return assigned
}
