/**
 * Checkpoints of a pretraining, folders as training/checkpoint-files.ts writes them:
 *
 *   model.safetensors         encoder and heads
 *   ema.safetensors           their moving average, where the method has one
 *   optimizer.safetensors     exp_avg.NAME and exp_avg_sq.NAME
 *   buffers.safetensors       what the method keeps besides, where it does
 *   state.json                step, the optimizer's counters, the run's configuration
 */
import { join } from 'node:path'
import * as z from 'zod'
import { parseStored } from '../configuration/stored.ts'
import { SafetensorsFile } from '../formats/safetensors.ts'
import { toFloat32 } from '../tensor/host-tensor.ts'
import { countersSchema } from '../training/checkpoint.ts'
import {
  arenaTensors,
  type CheckpointFile,
  EMA_FILE,
  loadArena,
  MODEL_FILE,
  OPTIMIZER_FILE,
  readCheckpointJson,
  writeCheckpointFiles,
} from '../training/checkpoint-files.ts'
import { checkpointName } from '../training/run-layout.ts'
import { pretrainingSchema } from './configuration.ts'
import type { PretrainingMethod } from './method.ts'
import type { Pretrainer } from './pretrainer.ts'

const FORMAT = 1

const BUFFERS_FILE = 'buffers.safetensors'

const stateSchema = z.strictObject({
  format: z.literal(FORMAT),
  /** Steps made, skipped ones included. */
  step: z.int().nonnegative(),
  ...countersSchema,
  /** Updates that have held the late parameters, where there are such. */
  held: z.int().nonnegative().optional(),
  configuration: z.strictObject({ data: z.string(), pretraining: pretrainingSchema }),
})

type State = z.output<typeof stateSchema>

/** A method without an average in use does not keep one. */
const filesOf = ({ encoder }: PretrainingMethod): readonly CheckpointFile[] =>
  encoder.role === 'ema' ? [MODEL_FILE, EMA_FILE, OPTIMIZER_FILE] : [MODEL_FILE, OPTIMIZER_FILE]

/** Writes `FOLDER/STEP/` and returns it. */
export async function saveCheckpoint(
  folder: string,
  { method, optimizer, step }: Pretrainer,
  configuration: State['configuration'],
): Promise<string> {
  const target = join(folder, checkpointName(step))
  const files = filesOf(method).map(({ file, parts }) => ({
    file,
    tensors: parts.flatMap(({ role, prefix }) =>
      arenaTensors(method.model, role).map((tensor) => ({ ...tensor, name: prefix + tensor.name })),
    ),
  }))
  const buffers = Object.entries(method.buffers).map(([name, tensor]) => ({
    name,
    dtype: 'f32' as const,
    shape: tensor.shape,
    data: async () => (await tensor.toHost()).data,
  }))
  if (buffers.length > 0) files.push({ file: BUFFERS_FILE, tensors: buffers })
  const { updates, skipped, held, lossScaling } = await optimizer.state()
  const state: State = { format: FORMAT, step, updates, skipped, held, lossScaling, configuration }
  await writeCheckpointFiles(target, files, state)
  return target
}

/** Lets a pretrainer go on where a checkpoint stopped. */
export async function restoreCheckpoint(checkpoint: string, pretrainer: Pretrainer): Promise<void> {
  const { path, json } = await readCheckpointJson(checkpoint)
  const { step, updates, skipped, held, lossScaling } = parseStored(stateSchema, json, path, { format: FORMAT })
  const { method } = pretrainer
  const files = filesOf(method)
  const roles = files.flatMap(({ parts }) => parts.map(({ role }) => role))
  await loadArena(checkpoint, method.model, files, roles)
  const buffers = Object.entries(method.buffers)
  if (buffers.length > 0) {
    await using file = await SafetensorsFile.open(join(checkpoint, BUFFERS_FILE))
    for (const [name, tensor] of buffers) tensor.write(toFloat32(await file.read(name)))
  }
  await pretrainer.restore(step, { updates, skipped, held, lossScaling })
}
