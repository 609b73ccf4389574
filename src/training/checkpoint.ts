/**
 * Checkpoints of a training run (checkpoint-files.ts says how folders of them are written), under the reference's parameter names:
 *
 *   model.safetensors, ema.safetensors      the state dict's names
 *   optimizer.safetensors                   exp_avg.NAME and exp_avg_sq.NAME (torch's names of the two moments)
 *   state.json                              step, the optimizer's counters, the model's and the run's configuration
 */
import { join } from 'node:path'
import * as z from 'zod'
import { parseStored } from '../configuration/stored.ts'
import type { WritableFileSystem } from '../formats/atomic-file.ts'
import type { SafetensorsSource } from '../formats/safetensors-writer.ts'
import type { Model } from '../models/model.ts'
import { type AnyTransformerConfig, transformerConfigSchema } from '../models/transformer-kinds.ts'
import {
  arenaTensors,
  type CheckpointFile,
  type CheckpointRole,
  checkpointsBefore,
  EMA_FILE,
  loadArena,
  MODEL_FILE,
  OPTIMIZER_FILE,
  readCheckpointJson,
  removeCheckpoint,
  writeCheckpointFiles,
} from './checkpoint-files.ts'
import { MOMENTS, type Moments } from './moments.ts'
import type { OptimizerCounters } from './optimizer.ts'
import { checkpointName } from './run-layout.ts'

const FORMAT = 1

/** The optimizer's part of a checkpoint's JSON. */
export const countersSchema = {
  updates: z.int().nonnegative(),
  skipped: z.int().nonnegative(),
  /** Where it scales the losses. */
  lossScaling: z.strictObject({ scale: z.number().positive(), steps: z.int().nonnegative() }).optional(),
}

const stateSchema = z.strictObject({
  format: z.literal(FORMAT),
  /** Training steps made, skipped ones included: the number of the next one, counted from 0. */
  step: z.int().nonnegative(),
  /** It is there to go on from, until the next one is whole: `resumeEvery`. */
  resumeOnly: z.literal(true).optional(),
  ...countersSchema,
  seed: z.int().nonnegative(),
  model: transformerConfigSchema,
  /** The run's resolved configuration, as config.json has it. */
  configuration: z.json(),
})

export type CheckpointState = z.output<typeof stateSchema>

/** What a checkpoint's files hold. */
export const CHECKPOINT_FILES: readonly CheckpointFile[] = [MODEL_FILE, EMA_FILE, OPTIMIZER_FILE]

/** Writes `FOLDER/STEP/`. The model must not train meanwhile. See `writeCheckpointFiles`. */
export async function saveCheckpoint(
  folder: string,
  model: Model & { readonly config: AnyTransformerConfig },
  moments: Moments,
  state: Omit<CheckpointState, 'format' | 'model'>,
  options: { fileSystem?: WritableFileSystem } = {},
): Promise<string> {
  const target = join(folder, checkpointName(state.step))
  const tensorsOf = (role: CheckpointRole) =>
    role === 'firstMoments' || role === 'secondMoments'
      ? arenaTensors(model, role, () => moments.gather(role))
      : arenaTensors(model, role)
  await writeCheckpoint(target, { ...state, model: model.config }, tensorsOf, options)
  return target
}

/** Writes a checkpoint's folder; `tensorsOf` gives the tensors of a role under the state dict's names. See `writeCheckpointFiles`. */
export async function writeCheckpoint(
  target: string,
  state: Omit<CheckpointState, 'format'>,
  tensorsOf: (role: CheckpointRole) => readonly SafetensorsSource[],
  options: { fileSystem?: WritableFileSystem } = {},
): Promise<void> {
  const files = CHECKPOINT_FILES.map(({ file, parts }) => ({
    file,
    tensors: parts.flatMap(({ role, prefix }) =>
      tensorsOf(role).map((tensor) => ({ ...tensor, name: prefix + tensor.name })),
    ),
  }))
  await writeCheckpointFiles(target, files, { format: FORMAT, ...state }, options)
}

/**
 * Reads a checkpoint's JSON.
 *
 * @throws {FileAccessError} where it cannot be read; {ConfigurationError} where it is none, AnotherVersionError of another version
 */
export async function readCheckpointState(checkpoint: string): Promise<CheckpointState> {
  const { path, json } = await readCheckpointJson(checkpoint)
  return parseStored(stateSchema, json, path, { format: FORMAT })
}

/**
 * Removes the checkpoints of a run's `checkpoints` folder that were only there to go on from, those before a step, of which there is one by
 * now. What cannot be read stays.
 */
export async function removeResumeOnly(folder: string, step: number): Promise<void> {
  for (const checkpoint of await checkpointsBefore(folder, step)) {
    const state = await readCheckpointState(checkpoint).catch(() => undefined)
    if (state?.resumeOnly) await removeCheckpoint(checkpoint)
  }
}

/** Loads arrays of a checkpoint into a model, each into that of its own role unless `array` names another. */
export async function loadCheckpoint(
  checkpoint: string,
  model: Model,
  roles: readonly ('weights' | 'ema')[],
  array?: 'weights',
): Promise<void> {
  await loadArena(checkpoint, model, CHECKPOINT_FILES, roles, array)
}

/** Loads what training needs besides. */
export async function loadMoments(checkpoint: string, model: Model, moments: Moments): Promise<void> {
  for (const role of MOMENTS) {
    await moments.load(role, (array) => loadArena(checkpoint, model, CHECKPOINT_FILES, [role], array))
  }
}

/** Continues an optimizer's counters. */
export const countersOf = ({ updates, skipped, lossScaling }: CheckpointState): OptimizerCounters => ({
  updates,
  skipped,
  lossScaling,
})
