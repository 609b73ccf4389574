import * as z from 'zod'
import { aFunction } from '../configuration/callbacks.ts'
import { parseConfiguration, whenNeeded } from '../configuration/parse.ts'
import { statusOf } from '../formats/path-status.ts'
import { configOfWeights } from '../models/config-of-weights.ts'
import { scriptArguments } from '../models/script-arguments.ts'
import type { SiTConvention } from '../models/sit.ts'
import { requireAsStated } from '../models/stated-model.ts'
import {
  type AnyTransformer,
  TRANSFORMER_KINDS,
  type TransformerKind,
  transformerFromConfig,
} from '../models/transformer-kinds.ts'
import { openTransformerWeights } from '../models/weights-file.ts'
import type { Device } from '../tensor/device.ts'
import { loadCheckpoint, readCheckpointState } from './checkpoint.ts'
import { checkpointOf } from './checkpoint-files.ts'
import { trainingStatement } from './stated-training.ts'
import { type ToldRun, toldRun } from './told-run.ts'
import { trainedPath } from './trained-path.ts'

export interface LoadModelOptions {
  /** Default `cpu`. */
  readonly device?: Device
  /** Which weights of a training checkpoint. Default: the EMA, as the reference samples. */
  readonly weights?: 'ema' | 'model'
  /**
   * Attention heads, for weights that come without a configuration and are of no preset's size. A checkpoint's folder and a file that was
   * converted from one say them: others than those are refused, and likewise with `kind` and `convention`.
   */
  readonly heads?: number
  /** The kind, for weights that come without a configuration and could be a DiT's or an original SiT's. Default: inferred. */
  readonly kind?: TransformerKind
  /** Which way a SiT's time runs, for weights that come without a configuration. Default: inferred. */
  readonly convention?: SiTConvention
  /** Told what was inferred: a sentence each. */
  readonly onNotice?: (sentence: string) => void
}

const optionsSchema = whenNeeded(() =>
  z.strictObject({
    // Checked where the model is made.
    device: z.unknown().optional(),
    weights: z.enum(['ema', 'model']).optional(),
    heads: z.int().positive().optional(),
    kind: z.enum(TRANSFORMER_KINDS).optional(),
    convention: z.enum(['repa', 'sit']).optional(),
    onNotice: aFunction().optional(),
  } satisfies Record<keyof LoadModelOptions, z.ZodType>),
)

export interface LoadedModel extends ToldRun {
  readonly model: AnyTransformer
  /** Where the weights came from, for people. */
  readonly source: string
  /** Which of a training checkpoint's they are; undefined of a file that holds one set of weights and does not tell which. */
  readonly weights: 'ema' | 'model' | undefined
  /** The training path that the checkpoint was made with, where it says so: ours, or the reference's in its `args`. */
  readonly path: 'linear' | 'cosine' | undefined
  /** Steps that it was trained for, where the checkpoint says so. */
  readonly step: number | undefined
}

/**
 * A SiT or DiT from a run's folder (its newest checkpoint), a checkpoint's folder, or a file of weights: `.safetensors`, or a
 * `.pt`/`.pth` that is a bare state dict (as the published checkpoints are) or the reference's training checkpoint.
 *
 * @throws {ConfigurationError} for options that are none; {FileAccessError} where there is no such file or folder; what the file readers
 *   throw
 */
export async function loadModel(path: string, options: LoadModelOptions = {}): Promise<LoadedModel> {
  parseConfiguration(optionsSchema(), options, "the model's options")
  const { device = 'cpu', weights = 'ema' } = options
  if (!(await statusOf(path)).isDirectory()) return loadWeightsFile(path, options)
  const checkpoint = await checkpointOf(path)
  const state = await readCheckpointState(checkpoint)
  requireAsStated(checkpoint, state.model, options)
  const model = transformerFromConfig(state.model, device)
  try {
    // The average too becomes its weights, which training goes on from and aligning copies.
    await loadCheckpoint(checkpoint, model, [weights === 'ema' ? 'ema' : 'weights'], 'weights')
  } catch (error) {
    model.dispose()
    throw error
  }
  return {
    model,
    source: `${checkpoint} (${weights}, step ${state.step})`,
    weights,
    path: trainedPath(state),
    step: state.step,
    ...toldRun(state.configuration),
  }
}

async function loadWeightsFile(
  path: string,
  { device = 'cpu', weights = 'ema', heads, kind, convention, onNotice }: LoadModelOptions,
): Promise<LoadedModel> {
  await using source = await openTransformerWeights(path, [weights, 'state_dict'])
  const config = await configOfWeights(source, { heads, kind, convention }, onNotice)
  const model = transformerFromConfig(config, device)
  try {
    await model.load(source)
  } catch (error) {
    model.dispose()
    throw error
  }
  return {
    model,
    source: path,
    weights: source.key === weights ? weights : undefined,
    path: scriptArguments(source, onNotice).path,
    step: source.steps,
    ...toldRun({ training: trainingStatement(source.args, path) }),
  }
}
