import type { ZodType } from 'zod'

interface OptionBase {
  /** One sentence for `--help`, without a full stop. */
  readonly description: string
  /** How `--help` names the value: `N`, `FILE`, `DIR`. */
  readonly placeholder?: string
  /** The command line is wrong without it. */
  readonly required?: boolean
  /** The flag may be given several times; its value is the array of all. */
  readonly repeated?: boolean
  /** Checks (or transforms) each value after it was read as `type` says; its first message ends up in the error. */
  readonly schema?: ZodType
}

interface NumericOption extends OptionBase {
  readonly min?: number
  readonly max?: number
  /** Greater than this. */
  readonly above?: number
  /** Less than this. */
  readonly below?: number
  readonly default?: number | readonly number[]
}

export interface IntegerOption extends NumericOption {
  readonly type: 'integer'
}

export interface NumberOption extends NumericOption {
  readonly type: 'number'
}

export interface StringOption extends OptionBase {
  readonly type: 'string'
  readonly default?: string | readonly string[]
  readonly pattern?: RegExp
  /** What `pattern` wants, in words: `auto, cpu, cuda or cuda:N`. */
  readonly expected?: string
}

/** Of a file that others know by its name. */
export function endingIn(extension: string): Required<Pick<StringOption, 'pattern' | 'expected'>> {
  return { pattern: new RegExp(`\\${extension}$`, 'i'), expected: `a name that ends in ${extension}` }
}

/** Given as `--flag`, `--no-flag` or `--flag=true|false`. Without a default, not given is `undefined`. */
export interface BooleanOption extends OptionBase {
  readonly type: 'boolean'
  readonly default?: boolean
}

/** Values between commas. */
export interface ListOption extends OptionBase {
  readonly type: 'list'
  readonly items?: 'string' | 'integer' | 'number'
  readonly default?: readonly (string | number)[]
}

export interface EnumOption extends OptionBase {
  readonly type: 'enum'
  readonly values: readonly string[]
  readonly default?: string | readonly string[]
}

export type Option = IntegerOption | NumberOption | StringOption | BooleanOption | ListOption | EnumOption

/** Options by their camelCase name: `alignWeight` is `--align-weight`. */
export type OptionTable = Readonly<Record<string, Option>>

type Item<O> = O extends { items: 'integer' | 'number' } ? number : string

type Read<O> = O extends { type: 'integer' | 'number' }
  ? number
  : O extends { type: 'boolean' }
    ? boolean
    : O extends { type: 'list' }
      ? Item<O>[]
      : O extends { type: 'enum'; values: readonly (infer V)[] }
        ? V
        : string

type Checked<O> = O extends { schema: ZodType<infer T> } ? T : Read<O>

/** What a command receives for an option. */
export type OptionValue<O> = O extends { type: 'list'; repeated: true }
  ? Checked<O>
  : O extends { repeated: true }
    ? Checked<O>[]
    : O extends { required: true } | { default: unknown }
      ? Checked<O>
      : Checked<O> | undefined

/** `alignWeight` → `--align-weight`. */
export function flagOf(name: string): string {
  return `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`
}

/** What an option accepts, in words: `an integer of at least 1`. */
export function expectationOf(option: Option): string {
  switch (option.type) {
    case 'integer':
      return option.min !== undefined && option.min === option.max ? `${option.min}` : `an integer${rangeOf(option)}`
    case 'number':
      return `a number${rangeOf(option)}`
    case 'string':
      return option.expected ?? `a ${placeholderOf(option)}`
    case 'boolean':
      return 'true or false'
    case 'enum':
      return joinWithOr(option.values)
    case 'list':
      return option.items === 'integer'
        ? 'integers between commas'
        : option.items === 'number'
          ? 'numbers between commas'
          : 'values between commas'
    default:
      return option satisfies never
  }
}

/** How help names an option's value; empty for booleans. */
export function placeholderOf(option: Option): string {
  if (option.placeholder !== undefined) return option.placeholder
  switch (option.type) {
    case 'integer':
      return 'N'
    case 'number':
      return 'X'
    case 'string':
      return 'TEXT'
    case 'boolean':
      return ''
    case 'list':
      return 'A,B,…'
    case 'enum':
      return option.values.join('|')
    default:
      return option satisfies never
  }
}

/** `a`, `a or b`, `a, b or c`. */
function joinWithOr(words: readonly string[]): string {
  if (words.length < 2) return words.join()
  return `${words.slice(0, -1).join(', ')} or ${words.at(-1)}`
}

/** Whether an option's bounds let a number through. */
export function isInRange(value: number, { min = -Infinity, max = Infinity, above, below }: NumericOption): boolean {
  return (
    value >= min && value <= max && !(above !== undefined && value <= above) && !(below !== undefined && value >= below)
  )
}

function rangeOf({ min, max, above, below }: NumericOption): string {
  if (min !== undefined && max !== undefined) return ` from ${min} to ${max}`
  const bounds = [
    ...(min !== undefined ? [`of at least ${min}`] : []),
    ...(max !== undefined ? [`of at most ${max}`] : []),
    ...(above !== undefined ? [`above ${above}`] : []),
    ...(below !== undefined ? [`below ${below}`] : []),
  ]
  return bounds.length === 0 ? '' : ` ${bounds.join(' and ')}`
}
