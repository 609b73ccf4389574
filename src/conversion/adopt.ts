import { rm, rmdir } from 'node:fs/promises'
import { join } from 'node:path'
import { parseConfiguration } from '../configuration/parse.ts'
import { isThere } from '../formats/if-there.ts'
import { CHECKPOINTS, checkpointName } from '../training/checkpoint-files.ts'
import { requireNoRun } from '../training/run-configuration.ts'
import { writeCheckpointFolder } from './checkpoint-folder.ts'
import { type ConvertOptions, convertOptionsSchema, readTraining } from './convert.ts'

export interface Adoption {
  /** The checkpoint's folder in the run. */
  readonly checkpoint: string
  readonly step: number
  /** What was assumed: a sentence each. */
  readonly notes: readonly string[]
  /** Takes back what was made: for a run that then did not begin, so that a corrected call finds what this one found. */
  abandon(): Promise<void>
}

/**
 * Makes a new run of a training checkpoint, the reference's file or a checkpoint's folder: weights, EMA, optimizer state and
 * counters become `RUN/checkpoints/STEP/`, from which `train` goes on by `resume`.
 *
 * @throws {ConfigurationError} for options that are none; {FileAccessError} where there is no input; {Error} where it is no whole training
 *   checkpoint, or the run's folder holds a run already
 */
export async function adoptCheckpoint(
  input: string,
  run: string,
  options: Pick<ConvertOptions, 'heads' | 'alignDepth'> = {},
): Promise<Adoption> {
  parseConfiguration(convertOptionsSchema.pick({ heads: true, alignDepth: true }), options, "the adoption's options")
  await requireNoRun(run)
  const notes: string[] = []
  await using opened = await readTraining(input, options, notes)
  const { training } = opened
  const folders = [join(run, CHECKPOINTS), run]
  const isOurs = await Promise.all(folders.map(async (folder) => !(await isThere(folder))))
  const checkpoint = join(run, CHECKPOINTS, checkpointName(training.state.step))
  const abandon = async (): Promise<void> => {
    await rm(checkpoint, { recursive: true, force: true })
    // Not what something else was put into meanwhile.
    for (const [i, folder] of folders.entries()) if (isOurs[i]) await rmdir(folder).catch(() => {})
  }
  try {
    await writeCheckpointFolder(checkpoint, training)
  } catch (error) {
    await abandon()
    throw error
  }
  return { checkpoint, step: training.state.step, notes, abandon }
}
