/** Fine-tuning: a run that begins from given weights. */
import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { configOfWeights } from '../models/config-of-weights.ts'
import { assumedConvention, assumedHeads } from '../models/infer-transformer.ts'
import { scriptArguments } from '../models/script-arguments.ts'
import type { AnyTransformer, AnyTransformerConfig } from '../models/transformer-kinds.ts'
import { openTransformerWeights, type WeightsFile } from '../models/weights-file.ts'
import { loadState } from '../nn/state-dict.ts'
import { readCheckpointState } from './checkpoint.ts'
import { checkpointOf, EMA_FILE } from './checkpoint-files.ts'
import { modelSetting, type TrainingOptions } from './configuration.ts'
import { type Computation, otherComputation } from './requirements.ts'

/** What may be other than the file's: made for other encoders or losses, other classes, another size of image. */
const REPLACEABLE = [
  { what: 'projectors', pattern: /^projectors\./ },
  { what: 'head of self-alignment', pattern: /^ap_head\./ },
  { what: 'label table', pattern: /^y_embedder\.embedding_table\.weight$/ },
  { what: 'position table', pattern: /^pos_embed$/ },
  { what: "class token's layers", pattern: /^(cls_projectors2|wg_norm|final_layer\.linear_cls)\./ },
] as const

const WEIGHTS_KEYS = ['ema', 'model', 'state_dict']

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
 * Loads weights and EMA of a model from the weights at `path`: of a run's newest checkpoint, of a checkpoint's folder or of a file, the EMA
 * where there is one. Projectors, self-alignment's head, the label table, the position table and a class token's layers may be other than
 * the model's: those keep the values that they begin with, and `notice` is told.
 *
 * @throws {RangeError} where the weights are of a model that computes otherwise with them
 * @throws {Error} that lists what else is missing, surplus or misshapen
 */
export async function loadInitialWeights(
  model: AnyTransformer,
  path: string,
  notice: (sentence: string) => void,
): Promise<void> {
  const checkpoint = (await stat(path)).isDirectory() ? await checkpointOf(path) : undefined
  await using source = await openTransformerWeights(checkpoint ? join(checkpoint, EMA_FILE.file) : path, WEIGHTS_KEYS)
  const told = checkpoint ? (await readCheckpointState(checkpoint)).model : await toldBy(source, model.config, notice)
  const other = told && otherComputation(told, model.config)
  if (other !== undefined) {
    throw new RangeError(`${path} ${other}; leave out the model setting (--model), and the model is the weights' own.`)
  }
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

/**
 * What a file tells of the computation with its tensors; undefined where nothing. Where it leaves a guess, the setting `own` is believed,
 * for nothing else can say it, and `notice` is told where another kind or direction of time is usual.
 */
async function toldBy(
  source: WeightsFile,
  own: AnyTransformerConfig,
  notice: (sentence: string) => void,
): Promise<Computation | undefined> {
  let inferred: AnyTransformerConfig
  try {
    inferred = await configOfWeights(source, {}, undefined)
  } catch {
    // A transformer's that cannot be inferred, of an input that is not square, say; what else it may be, loading it will tell.
    return undefined
  }
  const [assumed, setting] = [inferred as Computation, own as Computation]
  let told = assumed
  for (const key of guessesIn(source, inferred)) {
    // A guess at heads is by the width alone, and no reason to doubt a setting.
    if (key !== 'heads' && setting[key] !== undefined && setting[key] !== assumed[key]) {
      notice(
        `${source.name} does not tell its model's ${key}: ${setting[key]} is taken, as the model setting says; ` +
          `without it ${assumed[key]} would be.`,
      )
    }
    told = { ...told, [key]: setting[key] }
  }
  return told
}

/** What of an inferred configuration the file does not tell. */
function guessesIn(source: WeightsFile, inferred: AnyTransformerConfig): readonly ('kind' | 'heads' | 'convention')[] {
  const args = scriptArguments(source)
  const shapes = new Map(source.names.map((name) => [name, source.shapeOf(name)]))
  // A head with the input's channels is a SiT's of REPA, or of any other code; its script's arguments tell.
  const isPlain = !inferred.learnSigma && args.kind === undefined
  return [
    ...(isPlain ? (['kind'] as const) : []),
    ...(assumedHeads(shapes, source.name, inferred, args) === undefined ? [] : (['heads'] as const)),
    ...(isPlain || assumedConvention(shapes, source.name, inferred, {}) !== undefined ? (['convention'] as const) : []),
  ]
}
