/** Fine-tuning: a run that begins from given weights. */
import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { configOfWeights } from '../models/config-of-weights.ts'
import type { AnyTransformer } from '../models/transformer-kinds.ts'
import { openTransformerWeights, type WeightsFile } from '../models/weights-file.ts'
import { loadState } from '../nn/state-dict.ts'
import { readCheckpointState } from './checkpoint.ts'
import { checkpointOf } from './checkpoint-files.ts'
import { modelSetting, type TrainingOptions } from './configuration.ts'

/** What may be other than the file's: made for other encoders, other classes, another size of image. */
const REPLACEABLE = [
  { what: 'projectors', pattern: /^projectors\./ },
  { what: 'label table', pattern: /^y_embedder\.embedding_table\.weight$/ },
  { what: 'position table', pattern: /^pos_embed$/ },
  { what: "class token's layers", pattern: /^(cls_projectors2|wg_norm|final_layer\.linear_cls)\./ },
] as const

const WEIGHTS_KEYS = ['ema', 'model', 'state_dict']

/** The weights of a run's newest checkpoint, of a checkpoint's folder or of a file: the EMA where there is one. */
async function openInitialWeights(path: string): Promise<WeightsFile> {
  const isFolder = (await stat(path)).isDirectory()
  return openTransformerWeights(isFolder ? join(await checkpointOf(path), 'ema.safetensors') : path, WEIGHTS_KEYS)
}

/** The setting `model` of the weights at `path`, for a run that names no other. */
export async function modelOfWeights(
  path: string,
  notice: (sentence: string) => void,
): Promise<NonNullable<TrainingOptions['model']>> {
  if ((await stat(path)).isDirectory())
    return modelSetting((await readCheckpointState(await checkpointOf(path))).model)!
  await using source = await openTransformerWeights(path, WEIGHTS_KEYS)
  return modelSetting(await configOfWeights(source, {}, notice))!
}

/**
 * Loads weights and EMA of a model from the weights at `path`. Projectors, the label table, the position table and a class token's layers
 * may be other than the model's: those keep the values that they begin with, and `notice` is told.
 *
 * @throws {Error} that lists what else is missing, surplus or misshapen
 */
export async function loadInitialWeights(
  model: AnyTransformer,
  path: string,
  notice: (sentence: string) => void,
): Promise<void> {
  await using source = await openInitialWeights(path)
  const isThere = new Set(source.names)
  const fits = ({ name, shape }: AnyTransformer['entries'][number]): boolean =>
    isThere.has(name) && String(source.shapeOf(name)) === String(shape)
  const isReplaceable = (name: string): boolean => REPLACEABLE.some(({ pattern }) => pattern.test(name))
  const kept = model.entries.filter((entry) => isReplaceable(entry.name) && !fits(entry))
  for (const { what, pattern } of REPLACEABLE) {
    const count = kept.filter(({ name }) => pattern.test(name)).length
    if (count > 0)
      notice(
        `${path} has no ${what} of this model's shape; what it begins with is drawn anew: ${count === 1 ? '1 tensor' : `${count} tensors`}.`,
      )
  }
  const wanted = model.entries.filter((entry) => !kept.includes(entry))
  for (const role of ['weights', 'ema'] as const) await loadState(wanted, model.arena, role, source, isReplaceable)
  model.arena.refreshCompute()
}
