import type { Command, CommandContext } from './command.ts'
import { Output } from './output.ts'
import { parseCommandLine } from './parse.ts'
import { Progress } from './progress.ts'
import type { TextStream } from './style.ts'
import { withFlags } from './with-flags.ts'

/** Where a command line is run: the process's own streams and signals, or a test's. */
export interface Surroundings {
  readonly stdout: TextStream
  readonly stderr: TextStream
  readonly env: Readonly<Record<string, string | undefined>>
  readonly signal: AbortSignal
  /** Called with the command and its output once there is one, so that a signal handler can speak through it. */
  onOutput?(out: Output, command: Command): void
}

/**
 * Runs a command with the words that follow its name.
 *
 * @throws UsageError where the words are wrong, and whatever the command throws.
 */
export async function invoke(command: Command, words: readonly string[], surroundings: Surroundings): Promise<void> {
  const { args, ...flags } = parseCommandLine(command, words)
  const out = new Output({ ...surroundings, ...flags, wording: (sentence) => withFlags(sentence, command) })
  surroundings.onOutput?.(out, command)
  const context: CommandContext = {
    ...flags,
    out,
    signal: surroundings.signal,
    progress: (options) => new Progress(out, options),
  }
  try {
    await command.run(args, context)
  } finally {
    out.close()
  }
}
