import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { ifThere } from '../formats/if-there.ts'
import { CHECKPOINTS, checkpointName } from '../training/checkpoint-files.ts'
import { CONFIG_FILE } from '../training/run-configuration.ts'
import { writeCheckpointFolder } from './checkpoint-folder.ts'
import { type ConvertOptions, readTraining } from './convert.ts'

export interface Adoption {
  /** The checkpoint's folder in the run. */
  readonly checkpoint: string
  readonly step: number
  /** What was assumed: a sentence each. */
  readonly notes: readonly string[]
}

/**
 * Makes a new run of a training checkpoint, the reference's file or a checkpoint's folder: weights, EMA, optimizer state and
 * counters become `RUN/checkpoints/STEP/`, from which `train` goes on by `resume`.
 *
 * @throws {Error} where the input is no whole training checkpoint, or the run's folder holds a run already
 */
export async function adoptCheckpoint(
  input: string,
  run: string,
  options: Pick<ConvertOptions, 'heads' | 'alignDepth'> = {},
): Promise<Adoption> {
  const there = (await ifThere(readdir(run))) ?? []
  if (there.includes(CONFIG_FILE) || there.includes(CHECKPOINTS)) {
    throw new Error(`${run} already holds a run; go on with it by --resume, or choose another --out.`)
  }
  const notes: string[] = []
  await using opened = await readTraining(input, options, notes)
  const { training } = opened
  const checkpoint = join(run, CHECKPOINTS, checkpointName(training.state.step))
  await writeCheckpointFolder(checkpoint, training)
  return { checkpoint, step: training.state.step, notes }
}
