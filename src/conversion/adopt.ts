import { rm, rmdir } from 'node:fs/promises'
import { join } from 'node:path'
import * as z from 'zod'
import { parseConfiguration } from '../configuration/parse.ts'
import { requirePath } from '../configuration/path-argument.ts'
import { isThere } from '../formats/if-there.ts'
import type { SiTConvention } from '../models/sit.ts'
import type { AnyTransformerConfig, TransformerKind } from '../models/transformer-kinds.ts'
import { sizesOf, type TrainingOptions, trainingSchema } from '../training/configuration.ts'
import { type Computation, otherComputation } from '../training/requirements.ts'
import { requireNoRun } from '../training/run-configuration.ts'
import { checkpointName, RUN_LAYOUT } from '../training/run-layout.ts'
import { trainedPath } from '../training/trained-path.ts'
import { writeCheckpointFolder } from './checkpoint-folder.ts'
import { readTraining } from './convert.ts'

export interface Adoption {
  /** The checkpoint's folder in the run. */
  readonly checkpoint: string
  readonly step: number
  /** What was assumed: a sentence each. */
  readonly notes: readonly string[]
  /** Takes back what was made: for a run that then did not begin, so that a corrected call finds what this one found. */
  abandon(): Promise<void>
}

/** What the run that is to go on says itself: believed where the file leaves a guess, and refused where it tells another thing. */
export interface AdoptOptions {
  /** Attention heads. Default: the model setting's, of free sizes. */
  readonly heads?: number | undefined
  readonly alignDepth?: number | undefined
  /** Its model setting. */
  readonly model?: TrainingOptions['model']
  /** Its path, of a SiT. */
  readonly path?: TrainingOptions['path']
}

const adoptOptionsSchema = z.strictObject({
  heads: z.int().positive().optional(),
  alignDepth: z.int().positive().optional(),
  model: trainingSchema.shape.model.unwrap().optional(),
  path: trainingSchema.shape.path.unwrap().optional(),
} satisfies Record<keyof AdoptOptions, z.ZodType>)

/**
 * Makes a new run of a training checkpoint, the reference's file or a checkpoint's folder: weights, EMA, optimizer state and
 * counters become `RUN/checkpoints/STEP/`, from which `train` goes on by `resume`.
 *
 * @throws {ConfigurationError} for options that are none; {FileAccessError} where there is no input; {RangeError} where it tells another
 *   model than the options; {Error} where it is no whole training checkpoint, or the run's folder holds a run already
 */
export async function adoptCheckpoint(input: string, run: string, options: AdoptOptions = {}): Promise<Adoption> {
  requirePath(input, 'the checkpoint of adoptCheckpoint')
  requirePath(run, 'the run of adoptCheckpoint')
  const { model, path, ...given } = parseConfiguration(adoptOptionsSchema, options, "the adoption's options")
  const own = model && sizesOf(model)
  const heads = given.heads ?? (typeof model === 'string' ? undefined : model?.heads)
  const setting = own && computationOf(own)
  await requireNoRun(run)
  const notes: string[] = []
  await using opened = await readTraining(input, { ...given, heads, path, setting: setting ?? {} }, notes)
  const { training } = opened
  const saved = { ...training.state.model, path: trainedPath(training.state) }
  requireSetting(input, saved, { ...setting, ...(heads && { heads }), path, alignDepth: given.alignDepth })
  const folders = [join(run, RUN_LAYOUT.checkpoints), run]
  const isOurs = await Promise.all(folders.map(async (folder) => !(await isThere(folder))))
  const checkpoint = join(run, RUN_LAYOUT.checkpoints, checkpointName(training.state.step))
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

/** What of a model setting no tensor need show, but for the heads. */
function computationOf(model: {
  readonly kind: TransformerKind
  readonly convention?: SiTConvention | undefined
}): Setting {
  return model.kind === 'DiT' ? { kind: 'DiT' } : { kind: 'SiT', convention: model.convention ?? 'repa' }
}

interface Setting {
  readonly kind?: TransformerKind
  readonly convention?: SiTConvention
}

/** @throws {RangeError} where the file's model computes otherwise than the run's settings say */
function requireSetting(
  input: string,
  model: AnyTransformerConfig & Pick<Computation, 'path'>,
  { alignDepth, ...own }: Partial<Computation> & { readonly alignDepth: number | undefined },
): void {
  const other = otherComputation(model, { ...model, ...own })
  if (other) {
    const { sentence, setting } = other
    throw new RangeError(`${input} ${sentence}; leave out \`${setting}\`, and the ${setting} is the file's own.`)
  }
  // Without projectors the block is that of a setting alone; one that the model has not is said to be left out.
  if (model.alignWidths.length === 0 || alignDepth === undefined || alignDepth > model.depth) return
  if (alignDepth !== model.alignDepth) {
    throw new RangeError(
      `${input} is of a model that is aligned after block ${model.alignDepth}, this run's after block ${alignDepth}; leave out ` +
        '`alignDepth`.',
    )
  }
}
