import { join } from 'node:path'
import { SafetensorsFile } from '../formats/safetensors.ts'
import type { SafetensorsTensors } from '../formats/safetensors-shards.ts'
import type { TensorSource } from '../formats/tensor-source.ts'
import { transformerEntries } from '../models/diffusion-transformer.ts'
import { CHECKPOINT_FILES, readCheckpointState, writeCheckpoint } from '../training/checkpoint.ts'
import type { CheckpointRole } from '../training/checkpoint-files.ts'
import { fitted, type TensorSources, type TrainingCheckpoint } from './training-checkpoint.ts'

/** An opened folder: its files stay open until the tensors are read. */
export interface OpenedFolder extends AsyncDisposable {
  readonly checkpoint: TrainingCheckpoint
}

/** Opens a run's checkpoint folder (src/training/checkpoint.ts); reads its JSON and the files' headers. */
export async function openCheckpointFolder(path: string): Promise<OpenedFolder> {
  // Whoever copies a checkpoint means to keep it.
  const { format: _, resumeOnly: __, ...state } = await readCheckpointState(path)
  const entries = transformerEntries(state.model)
  const opened: SafetensorsFile[] = []
  const close = async () => {
    for (const file of opened) await file.close()
  }
  const tensors: Partial<Record<CheckpointRole, TensorSources>> = {}
  try {
    for (const { file: name, parts } of CHECKPOINT_FILES) {
      const file = await SafetensorsFile.open(join(path, name))
      opened.push(file)
      for (const { role, prefix } of parts) {
        tensors[role] = fitted(entries, sourcesOf(file, prefix), role, file.path)
      }
    }
  } catch (error) {
    await close()
    throw error
  }
  return {
    checkpoint: { state, tensors: tensors as TrainingCheckpoint['tensors'] },
    [Symbol.asyncDispose]: close,
  }
}

/** The tensors of safetensors files whose names begin with the prefix, without it. */
export function sourcesOf(file: SafetensorsTensors, prefix = ''): TensorSources {
  return new Map(
    [...file.tensors]
      .filter(([name]) => name.startsWith(prefix))
      .map(([name, { dtype, shape }]): [string, TensorSource] => [
        name.slice(prefix.length),
        { dtype, shape, data: async () => (await file.read(name)).data, pieces: () => file.pieces(name) },
      ]),
  )
}

/** Writes a run's checkpoint folder, one tensor at a time. */
export async function writeCheckpointFolder(path: string, { state, tensors }: TrainingCheckpoint): Promise<void> {
  await writeCheckpoint(path, state, (role) => [...tensors[role]].map(([name, source]) => ({ name, ...source })))
}
