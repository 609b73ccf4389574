import { GLOBAL_OPTIONS } from './global-options.ts'
import type { OptionTable, OptionValue } from './option.ts'
import type { Output } from './output.ts'
import type { Progress, ProgressOptions } from './progress.ts'

/** A word of the command line that is not a flag. Only the last may be optional or repeated. */
export interface Positional {
  /** How help names it: `RUN`. */
  readonly placeholder: string
  readonly description: string
  readonly optional?: boolean
  /** Takes all the remaining words (at least one, unless `optional`). */
  readonly repeated?: boolean
}

/** Positionals by the name under which the command receives them, in the order of the command line. */
export type PositionalTable = Readonly<Record<string, Positional>>

type PositionalValue<P> = P extends { repeated: true }
  ? string[]
  : P extends { optional: true }
    ? string | undefined
    : string

/** What `run` receives: every positional and option, read and checked. */
export type CommandArguments<P extends PositionalTable, O extends OptionTable> = {
  readonly [Name in keyof P]: PositionalValue<P[Name]>
} & { readonly [Name in keyof O]: OptionValue<O[Name]> }

/** What a command is given besides its own arguments. */
export interface CommandContext {
  /** `auto`, `cpu`, `cuda` or `cuda:N`. */
  readonly device: string
  /** Undefined where `--seed` was not given: the command (or the configuration) has the default. */
  readonly seed: number | undefined
  readonly json: boolean
  readonly quiet: boolean
  readonly out: Output
  /**
   * Aborts at the first Ctrl-C (SIGINT), SIGTERM, when the terminal is closed, or when stdout's reader has gone. The command saves what it
   * has, then returns or throws `signal.reason`; either way the exit status is 130.
   */
  readonly signal: AbortSignal
  /** A progress bar, or plain lines where stderr is no terminal. End it with `end()` or `using`. */
  progress(options: ProgressOptions): Progress
}

export interface Example {
  readonly command: string
  readonly description: string
}

interface CommandDefinition<P extends PositionalTable, O extends OptionTable> {
  /** One or two words: `train`, `evaluate fid`. */
  readonly name: string
  /** One line for the list of commands, without a full stop. */
  readonly summary: string
  /** More for the command's own help; paragraphs are wrapped. */
  readonly description?: string
  readonly positionals?: P
  readonly options?: O
  readonly examples: readonly Example[]
  /** Whether it saves what it has done when it is stopped, so that a second signal would cost that. Default: no. */
  readonly saves?: boolean
  /** Whether it computes without a pause, in which no signal is heard: one then ends it at once, as if none were handled. Default: no. */
  readonly endsAtOnce?: boolean
  /** Rejects with an error that says what, where and what to do (exit 1), or with a `UsageError` (exit 2). */
  run(args: CommandArguments<P, O>, context: CommandContext): Promise<void>
}

/** A command whose argument types have been put away, so that commands of all kinds fit in one table. */
export interface Command {
  readonly name: string
  readonly summary: string
  readonly description: string | undefined
  readonly positionals: PositionalTable
  readonly options: OptionTable
  readonly examples: readonly Example[]
  readonly saves: boolean
  readonly endsAtOnce: boolean
  run(args: Readonly<Record<string, unknown>>, context: CommandContext): Promise<void>
}

/**
 * Declares a command: `run` receives positionals and options under their names, with the types that the tables imply.
 *
 * @throws Error where the declaration contradicts itself (a name used twice, an optional positional before another).
 */
export function defineCommand<
  const P extends PositionalTable = Record<never, never>,
  const O extends OptionTable = Record<never, never>,
>(definition: CommandDefinition<P, O>): Command {
  const { name, summary, description, examples, saves = false, endsAtOnce = false } = definition
  const positionals: PositionalTable = definition.positionals ?? {}
  const options: OptionTable = definition.options ?? {}
  for (const key of Object.keys(options)) {
    if (key in GLOBAL_OPTIONS) throw new Error(`defineCommand: '${name}' redefines the global option '${key}'.`)
    if (key in positionals) throw new Error(`defineCommand: '${name}' uses '${key}' for a positional and an option.`)
  }
  for (const [key, positional] of Object.entries(positionals).slice(0, -1)) {
    if (positional.optional || positional.repeated) {
      throw new Error(`defineCommand: only the last positional of '${name}' may be optional or repeated, not '${key}'.`)
    }
  }
  return {
    name,
    summary,
    description,
    positionals,
    options,
    examples,
    saves,
    endsAtOnce,
    // The parser builds exactly these fields from the same tables; the types of its loop cannot say so.
    run: (args, context) => definition.run(args as CommandArguments<P, O>, context),
  }
}
