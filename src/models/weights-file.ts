import { FileFormatError } from '../formats/errors.ts'
import { isSafetensors, openSafetensors, shardOf } from '../formats/safetensors-shards.ts'
import { TorchCheckpoint } from '../formats/torch-checkpoint.ts'
import type { StateSource } from '../nn/state-dict.ts'
import { canonicalNames } from './state-dict-names.ts'

/** A file of weights, opened: tensors are read one at a time when a model loads them. */
export interface WeightsFile extends StateSource, AsyncDisposable {
  /** What the writer noted beside the tensors; a torch checkpoint has no place for it. */
  readonly metadata: Readonly<Record<string, string>>
  /** The arguments of the script that trained it, where a torch checkpoint has them (`args`). */
  readonly args: Readonly<Record<string, unknown>>
  /** The key under which a torch checkpoint has them, where it has one. */
  readonly key?: string | undefined
  /** Training steps made, where a torch checkpoint has them (`steps`). */
  readonly steps?: number | undefined
}

/** Keys under which torch checkpoints hold the state dict, where it is not the file itself; the first that is there counts. */
const STATE_DICT_KEYS = ['teacher', 'ema', 'model', 'state_dict', 'model_state_dict']

/**
 * Opens the state dict of a `.safetensors` file, or of the shards that a `.safetensors.index.json` names, or of any other name as what
 * `torch.save` wrote (no code of it is run): there under the first of `keys` that is a dictionary, or at the top.
 *
 * @throws FileFormatError, for one shard of several too; FileAccessError
 */
export async function openWeights(path: string, keys: readonly string[] = STATE_DICT_KEYS): Promise<WeightsFile> {
  return isSafetensors(path) ? openTensors(path) : openTorch(path, keys)
}

/** As `openWeights`, of a SiT or a DiT: its tensors under the names of state-dict-names.ts, whichever the file has. */
export async function openTransformerWeights(path: string, keys?: readonly string[]): Promise<WeightsFile> {
  const file = await openWeights(path, keys)
  const stored = canonicalNames(file.names)
  return {
    name: file.name,
    names: [...stored.keys()],
    metadata: file.metadata,
    args: file.args,
    key: file.key,
    steps: file.steps,
    shapeOf: (name) => file.shapeOf(stored.get(name) ?? name),
    read: (name) => file.read(stored.get(name) ?? name),
    [Symbol.asyncDispose]: () => file[Symbol.asyncDispose](),
  }
}

async function openTensors(path: string): Promise<WeightsFile> {
  const shard = shardOf(path)
  if (shard) {
    throw new FileFormatError(
      path,
      `this is one of ${shard.count} shards; name ${shard.index}, which lies beside them.`,
    )
  }
  const file = await openSafetensors(path)
  return {
    name: path,
    names: [...file.tensors.keys()],
    metadata: file.metadata,
    args: {},
    shapeOf: (name) => tensorOf(path, file.tensors, name).shape,
    read: (name) => file.read(name),
    [Symbol.asyncDispose]: () => file.close(),
  }
}

async function openTorch(path: string, keys: readonly string[]): Promise<WeightsFile> {
  const file = await TorchCheckpoint.open(path)
  try {
    const { value } = file
    const key = value instanceof Map ? keys.find((name) => value.get(name) instanceof Map) : undefined
    const tensors = file.stateDict(key === undefined ? [] : [key])
    const [args, steps] = value instanceof Map ? [value.get('args'), value.get('steps')] : []
    return {
      name: path,
      names: [...tensors.keys()],
      metadata: {},
      args: args instanceof Map ? Object.fromEntries(args) : {},
      key,
      steps: typeof steps === 'number' && Number.isSafeInteger(steps) && steps >= 0 ? steps : undefined,
      shapeOf: (name) => tensorOf(path, tensors, name).shape,
      read: async (name) => file.read(tensorOf(path, tensors, name)),
      [Symbol.asyncDispose]: () => file.close(),
    }
  } catch (error) {
    await file.close()
    throw error
  }
}

function tensorOf<T>(path: string, tensors: ReadonlyMap<string, T>, name: string): T {
  const tensor = tensors.get(name)
  if (tensor === undefined) throw new FileFormatError(path, `there is no tensor ${JSON.stringify(name)}.`)
  return tensor
}
