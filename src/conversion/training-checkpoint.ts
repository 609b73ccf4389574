import type { TensorSource } from '../formats/tensor-source.ts'
import type { StateEntry } from '../nn/parameter-list.ts'
import { requireFit, type StateSource } from '../nn/state-dict.ts'
import { DTYPE_BYTES, elementCount } from '../tensor/dtype.ts'
import type { CheckpointState } from '../training/checkpoint.ts'
import { type CheckpointRole, entriesOfRole } from '../training/checkpoint-files.ts'

/** Tensors by name, in their order, not yet read. */
export type TensorSources = ReadonlyMap<string, TensorSource>

/** What training goes on from, whichever file it came from. */
export interface TrainingCheckpoint {
  readonly state: Omit<CheckpointState, 'format'>
  /** Under the state dict's names; moments of trainable parameters only. */
  readonly tensors: Readonly<Record<CheckpointRole, TensorSources>>
}

/** What the tensors of a role are called in messages. */
const ROLE_NAMES: Readonly<Record<CheckpointRole, string>> = {
  weights: 'the set of weights',
  ema: 'the EMA',
  firstMoments: 'exp_avg',
  secondMoments: 'exp_avg_sq',
}

/** Names and shapes of tensors, as they are held to a model; `name` is what a message calls them. */
export function headersOf(name: string, tensors: TensorSources): Pick<StateSource, 'name' | 'names' | 'shapeOf'> {
  return { name, names: [...tensors.keys()], shapeOf: (tensor) => tensors.get(tensor)!.shape }
}

/** The tensors of one role in the model's order. Throws one error that lists what is missing, surplus or misshapen. */
export function fitted(
  entries: readonly StateEntry[],
  tensors: TensorSources,
  role: CheckpointRole,
  path: string,
): TensorSources {
  const wanted = entriesOfRole(entries, role)
  requireFit(wanted, headersOf(`${path}: ${ROLE_NAMES[role]}`, tensors))
  return new Map(wanted.map(({ name }) => [name, tensors.get(name)!]))
}

/** What AdamW's moments are before the first update. */
export function zeroMoments(entries: readonly StateEntry[]): TensorSources {
  return new Map(entriesOfRole(entries, 'firstMoments').map(({ name, shape }) => [name, zeros(shape)]))
}

export function zeros(shape: readonly number[]): TensorSource {
  return { dtype: 'f32', shape, data: async () => new Uint8Array(elementCount(shape) * DTYPE_BYTES.f32) }
}
