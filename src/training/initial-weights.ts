/** Fine-tuning: a run that begins from given weights. */
import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { configOfWeights } from '../models/config-of-weights.ts'
import { believedOf, departures, guessesIn } from '../models/guesses.ts'
import { TABLE_ROUNDING } from '../models/positions.ts'
import { scriptArguments } from '../models/script-arguments.ts'
import { type TransformerConfig, tokenGrid } from '../models/transformer-config.ts'
import type { AnyTransformer, AnyTransformerConfig } from '../models/transformer-kinds.ts'
import { openTransformerWeights, type WeightsFile } from '../models/weights-file.ts'
import type { InterpolantPath } from '../native.ts'
import type { StateEntry } from '../nn/parameter-list.ts'
import { loadState } from '../nn/state-dict.ts'
import { toFloat32 } from '../tensor/host-tensor.ts'
import { readCheckpointState } from './checkpoint.ts'
import { checkpointOf, EMA_FILE } from './checkpoint-files.ts'
import { modelSetting, sizesOf, type TrainingConfiguration, type TrainingOptions } from './configuration.ts'
import { type Computation, otherComputation } from './requirements.ts'
import { trainingStatement } from './stated-training.ts'
import { otherEncoders, toldRun } from './told-run.ts'
import { trainedPath } from './trained-path.ts'

interface Replaceable {
  readonly what: string
  readonly pattern: RegExp
  /** What makes a model have it that has not. */
  readonly setting?: keyof TrainingOptions
}

/** What may be other than the file's: made for other encoders or losses, other classes. */
const REPLACEABLE: readonly Replaceable[] = [
  { what: 'projectors', pattern: /^projectors\./, setting: 'encoders' },
  { what: 'head of self-alignment', pattern: /^ap_head\./, setting: 'selfAlignWeight' },
  { what: 'label table', pattern: /^y_embedder\.embedding_table\.weight$/ },
  {
    what: "class token's layers",
    pattern: /^(cls_projectors2|wg_norm|final_layer\.linear_cls)\./,
    setting: 'classTokenWeight',
  },
]

/**
 * What follows from the sizes, so that a model has its own and takes no file's: buffers, and the position table, which the reference's SiT has
 * as a parameter without a gradient.
 */
const isTable = ({ name, isBuffer }: StateEntry): boolean => isBuffer || name === 'pos_embed'

const WEIGHTS_KEYS = ['ema', 'model', 'state_dict']

/** Of a DiT there is none to learn along. */
const hasPath = (model: TrainingOptions['model']): boolean => model === undefined || sizesOf(model).kind === 'SiT'

type WeightsSettings = Pick<TrainingOptions, 'model' | 'path'>

/**
 * The settings of a run that begins from `weights`: what is given, else what they say themselves. A path may be said nowhere. `onNotice` is told
 * what of a model was a guess.
 */
export async function settingsOfWeights(
  weights: string,
  { model, path }: WeightsSettings,
  onNotice: (sentence: string) => void,
): Promise<WeightsSettings> {
  if ((await stat(weights)).isDirectory()) {
    const state = await readCheckpointState(await checkpointOf(weights))
    return {
      model: model ?? modelSetting(state.model),
      path: path ?? (hasPath(model) ? trainedPath(state) : undefined),
    }
  }
  await using source = await openTransformerWeights(weights, WEIGHTS_KEYS)
  return {
    model: model ?? modelSetting(await configOfWeights(source, {}, onNotice, 'model')),
    path: path ?? (hasPath(model) ? scriptArguments(source).path : undefined),
  }
}

export interface InitialWeightsOptions {
  /** That the model is to learn along, of a SiT. */
  readonly path: InterpolantPath
  /** What its images and captions are encoded by. Default: nothing is said of them. */
  readonly run?: Pick<TrainingConfiguration, 'encoders' | 'captionEncoder'>
  /** Told what is not as the weights have it: a sentence each. */
  readonly onNotice: (sentence: string) => void
}

/**
 * Loads weights and EMA of a model from the weights at `path`: of a run's newest checkpoint, of a checkpoint's folder or of a file, the EMA
 * where there is one. Projectors, self-alignment's head, the label table and a class token's layers may be other than the model's: those keep
 * the values that they begin with. So may the path, which the weights then learn anew. Tables of positions are the model's own, of its size.
 *
 * @returns what was loaded, for people
 * @throws {RangeError} where the weights are of a model that computes otherwise with them
 * @throws {Error} that lists what else is missing, surplus or misshapen
 */
export async function loadInitialWeights(
  model: AnyTransformer,
  path: string,
  { path: learns, run, onNotice }: InitialWeightsOptions,
): Promise<string> {
  const checkpoint = (await stat(path)).isDirectory() ? await checkpointOf(path) : undefined
  await using source = await openTransformerWeights(checkpoint ? join(checkpoint, EMA_FILE.file) : path, WEIGHTS_KEYS)
  const state = checkpoint && (await readCheckpointState(checkpoint))
  const told = state ? { ...state.model, path: trainedPath(state) } : await toldBy(source, model.config, onNotice)
  const other = told && otherComputation(told, { ...model.config, path: learns })
  if (other) {
    const { sentence, setting } = other
    const said = `${path} ${sentence}; leave out \`${setting}\`, and the ${setting} is the weights' own.`
    if (setting === 'model') throw new RangeError(said)
    onNotice(said)
  }
  const before = toldRun(state ? state.configuration : { training: trainingStatement(source.args, path) })
  for (const sentence of run ? otherEncoders(before, run) : []) onNotice(`${path}: its weights ${sentence}.`)
  const isThere = new Set(source.names)
  const fits = ({ name, shape }: StateEntry): boolean =>
    isThere.has(name) && String(source.shapeOf(name)) === String(shape)
  const isReplaceable = (name: string): boolean => REPLACEABLE.some(({ pattern }) => pattern.test(name))
  const kept = model.entries.filter((entry) => isReplaceable(entry.name) && !fits(entry))
  const own = new Set(model.entries.map(({ name }) => name))
  for (const { what, pattern, setting } of REPLACEABLE) {
    const anew = kept.filter(({ name }) => pattern.test(name)).length
    const leftOut = source.names.filter((name) => pattern.test(name) && !own.has(name)).length
    if (anew > 0) {
      onNotice(`${path} has no ${what} of this model's shape; what it begins with is drawn anew: ${counted(anew)}.`)
    } else if (leftOut > 0 && setting !== undefined) {
      onNotice(`Left out of ${path}: its ${what}, ${counted(leftOut)}; \`${setting}\` takes them along.`)
    }
  }
  const tables = model.entries.filter(isTable)
  // Where others are missing, the file is of a model without rotary positions.
  const made = new Set(tables.filter(({ name }) => isThere.has(name) || name === 'pos_embed').map(({ name }) => name))
  const wanted = model.entries.filter((entry) => !kept.includes(entry) && !made.has(entry.name))
  const isIdle = (name: string): boolean => isReplaceable(name) || made.has(name)
  for (const role of ['weights', 'ema'] as const) await loadState(wanted, model.arena, role, source, isIdle)
  model.arena.refreshCompute()
  const others = told && !isOfGrid(told, model.config) ? [] : await otherTables(tables.filter(fits), model, source)
  if (others.length > 0) {
    onNotice(
      `${path} has other values of ${others.join(', ')} than this model's sizes make; the model's own are taken.`,
    )
  }
  return state ? `${checkpoint} (ema, step ${state.step})` : path
}

const counted = (tensors: number) => (tensors === 1 ? '1 tensor' : `${tensors} tensors`)

/** What a file tells of its model's computation, and of the grid of its tokens. */
type Told = Computation & Partial<Pick<TransformerConfig, 'inputSize' | 'patch'>>

/** Whether a model's tokens stand in this grid, as far as it is told. */
function isOfGrid(told: Told, own: TransformerConfig): boolean {
  const { inputSize, patch } = told
  return (
    inputSize === undefined || patch === undefined || isDeepStrictEqual(tokenGrid({ inputSize, patch }), tokenGrid(own))
  )
}

/** Those of a file's tables that are other code's. */
async function otherTables(
  tables: readonly StateEntry[],
  { arena }: AnyTransformer,
  source: WeightsFile,
): Promise<readonly string[]> {
  const others: string[] = []
  for (const entry of tables) {
    using view = arena.view('weights', entry)
    const [own, stored] = [await view.data(), toFloat32(await source.read(entry.name))]
    if (own.some((value, i) => !(Math.abs(value - stored[i]!) <= TABLE_ROUNDING))) others.push(entry.name)
  }
  return others
}

/**
 * What a file tells of the computation with its tensors; undefined where nothing. Where it leaves a guess, the setting `own` is believed,
 * for nothing else can say it, and `onNotice` is told where another kind or direction of time is usual.
 */
async function toldBy(
  source: WeightsFile,
  own: AnyTransformerConfig,
  onNotice: (sentence: string) => void,
): Promise<Told | undefined> {
  const { stated, path, ...told } = scriptArguments(source, onNotice)
  if (stated) return { ...stated, path }
  let inferred: AnyTransformerConfig
  try {
    inferred = await configOfWeights(source, {}, undefined)
  } catch {
    // A transformer's that cannot be inferred, of an input that is not square, say; what else it may be, loading it will tell.
    return undefined
  }
  const shapes = new Map(source.names.map((name) => [name, source.shapeOf(name)]))
  const guesses = guessesIn(shapes, source.name, inferred, told)
  for (const sentence of departures(source.name, inferred, own, guesses)) onNotice(sentence)
  return { ...inferred, ...believedOf(own, guesses), path }
}
