import { readFileSync } from 'node:fs'
import { nearest } from '../configuration/nearest.ts'
import { StoppedByAnother } from '../distributed/world.ts'
import type { Command } from './command.ts'
import { COMMANDS, type CommandEntry } from './commands.ts'
import { describeFailure, Interruption, UsageError } from './failure.ts'
import { commandHelp, overviewHelp } from './help.ts'
import type { Surroundings } from './invoke.ts'
import { columnsOf, styleFor, type TextStream } from './style.ts'
import { withFlags } from './with-flags.ts'

/** Exit statuses: the contract with scripts. */
export const EXIT = { done: 0, failed: 1, usage: 2, interrupted: 130 } as const

/** Runs the words after `repa` and returns the exit status. Never throws. */
export async function dispatch(
  words: readonly string[],
  surroundings: Surroundings,
  commands: readonly CommandEntry[] = COMMANDS,
): Promise<number> {
  const { stdout, stderr } = surroundings
  let spokenName = 'repa'
  let command: Command | undefined
  try {
    const [first] = words
    if (first === '--version') {
      stdout.write(`${readVersion()}\n`)
      return EXIT.done
    }
    const wantsHelp = first === undefined || first === 'help' || asksForHelp(words)
    const named = wantsHelp ? wordsBeforeOptions(words) : words
    if (wantsHelp && named.length === 0) {
      stdout.write(overviewHelp(commands, styleFor(stdout, surroundings.env), helpWidth(stdout)))
      return EXIT.done
    }
    const { entry, rest } = findCommand(named, commands)
    if (entry === undefined) {
      const family = commands.filter(({ name }) => name.startsWith(`${named[0]} `))
      const [stream, status] = wantsHelp ? [stdout, EXIT.done] : [stderr, EXIT.usage]
      stream.write(overviewHelp(family, styleFor(stream, surroundings.env), helpWidth(stream), named[0]))
      return status
    }
    spokenName = `repa ${entry.name}`
    command = await entry.load()
    if (wantsHelp) {
      stdout.write(commandHelp(command, styleFor(stdout, surroundings.env), helpWidth(stdout)))
      return EXIT.done
    }
    // Loaded here, so that help starts without it.
    const { invoke } = await import('./invoke.ts')
    await invoke(command, rest, surroundings)
    return surroundings.signal.aborted ? EXIT.interrupted : EXIT.done
  } catch (failure) {
    const { signal, env } = surroundings
    if (signal.aborted && isInterruption(failure, signal)) return EXIT.interrupted
    const sentence = describeFailure(failure)
    stderr.write(`${spokenName}: ${command ? withFlags(sentence, command) : sentence}\n`)
    if (env.REPA_DEBUG === '1' && failure instanceof Error) stderr.write(`${failure.stack}\n`)
    if (failure instanceof StoppedByAnother) return EXIT.interrupted
    return failure instanceof UsageError ? EXIT.usage : EXIT.failed
  }
}

/**
 * The command that the first one or two words name. No entry where the first word is a family that the second does not complete.
 *
 * @throws UsageError where there is no such command.
 */
function findCommand(
  words: readonly string[],
  commands: readonly CommandEntry[],
): { entry: CommandEntry | undefined; rest: readonly string[] } {
  for (const length of [2, 1]) {
    const entry = commands.find(({ name }) => name === words.slice(0, length).join(' '))
    if (entry !== undefined) return { entry, rest: words.slice(entry.name.split(' ').length) }
  }
  const [first, second] = words as [string, string?]
  const names = commands.map(({ name }) => name)
  const isFamily = names.some((name) => name.startsWith(`${first} `))
  if (isFamily && (second === undefined || second.startsWith('-'))) return { entry: undefined, rest: [] }
  if (first.startsWith('-')) {
    throw new UsageError(
      `the command comes before its options, got '${first}' first; 'repa --help' lists the commands.`,
    )
  }
  const typed = isFamily ? `${first} ${second}` : first
  const families = names.map((name) => name.split(' ')[0]!)
  const meant = nearest(typed, isFamily ? names : [...names, ...families])
  const advice = meant === undefined ? `'repa --help' lists the commands.` : `did you mean 'repa ${meant}'?`
  throw new UsageError(`there is no command '${typed}'; ${advice}`)
}

function isInterruption(failure: unknown, signal: AbortSignal): boolean {
  return (
    failure === signal.reason ||
    failure instanceof Interruption ||
    (failure instanceof Error && failure.name === 'AbortError')
  )
}

/** Help wins over whatever else may be wrong with the words. */
function asksForHelp(words: readonly string[]): boolean {
  const end = words.indexOf('--')
  return words.slice(0, end < 0 ? words.length : end).some(isHelpFlag)
}

function isHelpFlag(word: string): boolean {
  return word === '--help' || word === '--help=true' || word === '-h'
}

/** What help is wanted of. Behind the first option a word may be its value, which only the command knows; help itself may come first. */
function wordsBeforeOptions([first, ...others]: readonly string[]): readonly string[] {
  const words = first === undefined || first === 'help' || isHelpFlag(first) ? others : [first, ...others]
  const option = words.findIndex((word) => word.startsWith('-'))
  return option < 0 ? words : words.slice(0, option)
}

function helpWidth(stream: TextStream): number {
  return Math.min(100, Math.max(40, columnsOf(stream)))
}

function readVersion(): string {
  const file = new URL('../../package.json', import.meta.url)
  const { version } = JSON.parse(readFileSync(file, 'utf8')) as { version: string }
  return version
}
