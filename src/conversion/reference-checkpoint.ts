/**
 * The training checkpoint of REPA's train.py and train_t2i.py, a dictionary in a torch file:
 *
 *   model, ema    state dicts
 *   opt           torch.optim.AdamW's: {state: {index: {step, exp_avg, exp_avg_sq}}, param_groups}
 *   args          argparse.Namespace of the script's options
 *   steps         training steps made
 *   scaler        the loss scale of a run in fp16; of files that were written here
 *
 * The optimizer's index counts the model's parameters in the state dict's order; what is frozen (pos_embed, index 0) has an
 * index and no state, what is a buffer (rotary positions) has none.
 */
import * as z from 'zod'
import { parseConfiguration } from '../configuration/parse.ts'
import { FileFormatError } from '../formats/errors.ts'
import type { TensorSource } from '../formats/tensor-source.ts'
import type { TorchCheckpoint, TorchValue } from '../formats/torch-checkpoint.ts'
import type { WritableTorchValue } from '../formats/torch-checkpoint-writer.ts'
import { TorchTensor } from '../formats/torch-tensor.ts'
import { transformerEntries } from '../models/diffusion-transformer.ts'
import { scriptArguments } from '../models/script-arguments.ts'
import { withCanonicalNames } from '../models/state-dict-names.ts'
import { requireAsStated, requireTensorsOf } from '../models/stated-model.ts'
import type { StateEntry } from '../nn/parameter-list.ts'
import { elementAt } from '../tensor/host-tensor.ts'
import { entriesOfRole } from '../training/checkpoint-files.ts'
import { trainingSchema } from '../training/configuration.ts'
import { REPA_ADAMW } from '../training/optimizer.ts'
import { GRAD_SCALER_KEY, gradScalerOf, lossScalingIn } from './grad-scaler.ts'
import { type ModelKnowledge, modelConfigOf } from './model-configuration.ts'
import {
  classDropoutOf,
  type ReferenceParameterGroup,
  referenceArgumentsOf,
  referenceArgumentsSchema,
  trainingConfigurationOf,
} from './reference-arguments.ts'
import { fitted, headersOf, type TensorSources, type TrainingCheckpoint, zeros } from './training-checkpoint.ts'

type TorchDictionary = Map<TorchValue, TorchValue>

const groupSchema = z.object({
  lr: z.number().positive(),
  betas: z.tuple([z.number(), z.number()]),
  eps: z.number().positive(),
  weight_decay: z.number().min(0),
  params: z.array(z.int().nonnegative()),
})

/** Whether a torch file's value has the parts of a training checkpoint. */
export function isReferenceCheckpoint(value: TorchValue): value is TorchDictionary {
  return value instanceof Map && ['model', 'ema', 'opt'].every((key) => value.get(key) instanceof Map)
}

/**
 * Reads a reference checkpoint's structure. What it does not tell is assumed, with a sentence in `notes`.
 *
 * @throws {FileFormatError} or {Error} naming what does not fit
 */
export async function readReferenceCheckpoint(
  file: TorchCheckpoint,
  value: TorchDictionary,
  given: ModelKnowledge,
  notes: string[],
): Promise<TrainingCheckpoint> {
  const { path } = file
  const weights = withCanonicalNames(torchSourcesOf(file, file.stateDict(['model'])))
  const args = argumentsIn(value)
  const settings = parseConfiguration(referenceArgumentsSchema, args, `${path}: args`)
  const { stated, kind, heads } = scriptArguments({ name: path, args, metadata: {} })
  const known: ModelKnowledge = {
    ...(settings.num_classes != null && { classes: settings.num_classes }),
    ...(kind && { kind }),
    ...(heads !== undefined && { heads }),
    ...(settings.encoder_depth != null && { alignDepth: settings.encoder_depth }),
    ...given,
  }
  // A run's own setting is held to the whole computation when it takes the checkpoint.
  if (stated && !given.setting) requireAsStated(path, stated, given)
  if (stated) requireTensorsOf(stated, headersOf(path, weights))
  const shown = stated ?? (await modelConfigOf(weights, known, path, notes))
  const model = { ...shown, classDropout: classDropoutOf(settings, shown, notes) }
  const entries = transformerEntries(model)
  const fittedWeights = fitted(entries, weights, 'weights', path)
  const order = [...weights.keys()].flatMap((name) => entries.find((entry) => entry.name === name) ?? [])
  const optimizer = await readOptimizer(file, value.get('opt') as TorchDictionary, order)
  const said = { ...settings, path_type: settings.path_type ?? given.path }
  const configuration = trainingConfigurationOf(said, optimizer.group, model, path, notes)
  const steps = value.get('steps')
  const step = typeof steps === 'number' && Number.isSafeInteger(steps) && steps >= 0 ? steps : optimizer.updates
  if (step !== steps) notes.push(`The file has no number of steps: that of the optimizer's updates, ${step}, is taken.`)
  return {
    state: {
      step,
      updates: optimizer.updates,
      // The reference counts a step whose gradient overflowed, but its optimizer does not.
      skipped: Math.max(0, step - optimizer.updates),
      lossScaling: lossScalingIn(value, path),
      seed: configuration.seed,
      model,
      configuration: z.json().parse({ data: settings.data_dir ?? '', training: configuration }),
    },
    tensors: {
      weights: fittedWeights,
      ema: fitted(entries, withCanonicalNames(torchSourcesOf(file, file.stateDict(['ema']))), 'ema', path),
      firstMoments: fitted(entries, optimizer.firstMoments, 'firstMoments', path),
      secondMoments: fitted(entries, optimizer.secondMoments, 'secondMoments', path),
    },
  }
}

/** The arguments of the script that a torch file has beside its weights; none where it has none. */
export function argumentsIn(value: TorchValue): Readonly<Record<string, unknown>> {
  const args = value instanceof Map ? value.get('args') : undefined
  return args instanceof Map ? Object.fromEntries(args) : {}
}

/** Tensors of a torch file as sources. */
export function torchSourcesOf(file: TorchCheckpoint, tensors: ReadonlyMap<string, TorchTensor>): TensorSources {
  return new Map([...tensors].map(([name, tensor]) => [name, sourceOf(file, tensor)]))
}

function sourceOf(file: TorchCheckpoint, tensor: TorchTensor): TensorSource {
  const { dtype, shape } = tensor
  return { dtype, shape, data: async () => (await file.read(tensor)).data, pieces: () => file.pieces(tensor) }
}

interface OptimizerState {
  readonly updates: number
  readonly group: ReferenceParameterGroup
  readonly firstMoments: TensorSources
  readonly secondMoments: TensorSources
}

/** @param entries in the order of the file's state dict, by which torch numbers the parameters */
async function readOptimizer(
  file: TorchCheckpoint,
  optimizer: TorchDictionary,
  entries: readonly StateEntry[],
): Promise<OptimizerState> {
  const { path } = file
  const states = optimizer.get('state')
  const listed = optimizer.get('param_groups')
  if (!(states instanceof Map) || !Array.isArray(listed) || listed.length === 0) {
    throw new FileFormatError(path, '["opt"] is no state of torch.optim.AdamW: it wants "state" and "param_groups".')
  }
  const groups = listed.map((group) =>
    parseConfiguration(
      groupSchema,
      group instanceof Map ? Object.fromEntries(group) : group,
      `${path}: opt.param_groups`,
    ),
  )
  const indices = groups.flatMap(({ params }) => params)
  const trainable = entriesOfRole(entries, 'firstMoments')
  const parameters = entries.filter(({ isBuffer }) => !isBuffer)
  const counted = [parameters, trainable].find(({ length }) => length === indices.length)
  if (counted === undefined) {
    throw new FileFormatError(path, `["opt"] has ${indices.length} parameters, the model has ${parameters.length}.`)
  }
  const moments = { exp_avg: new Map<string, TensorSource>(), exp_avg_sq: new Map<string, TensorSource>() }
  let updates = 0
  for (const [place, entry] of counted.entries()) {
    if (!entry.parameter.trainable) continue
    const state = states.get(indices[place]!)
    for (const name of ['exp_avg', 'exp_avg_sq'] as const) {
      const moment = state instanceof Map ? state.get(name) : undefined
      // Before the first update there is no state.
      if (states.size === 0) moments[name].set(entry.name, zeros(entry.shape))
      else if (moment instanceof TorchTensor) moments[name].set(entry.name, sourceOf(file, moment))
      else throw new FileFormatError(path, `["opt"] has no ${name} for parameter ${indices[place]} (${entry.name}).`)
    }
    if (state instanceof Map) updates = Math.max(updates, await updatesOf(file, state.get('step')))
  }
  return { updates, group: groups[0]!, firstMoments: moments.exp_avg, secondMoments: moments.exp_avg_sq }
}

/** A tensor of one element since torch 1.12, an int before. */
async function updatesOf(file: TorchCheckpoint, step: TorchValue | undefined): Promise<number> {
  const updates = step instanceof TorchTensor ? elementAt(await file.read(step), 0) : step
  if (typeof updates === 'number' && Number.isSafeInteger(updates) && updates >= 0) return updates
  throw new FileFormatError(file.path, '["opt"] has a "step" that is no number of updates.')
}

/** The dictionary that REPA's train.py resumes from and its generate.py samples from. `args` is a dictionary here: a
 * Namespace would keep torch's safe loader (weights_only) from reading the file, and neither script looks at it. */
export function referenceCheckpointOf({ state, tensors }: TrainingCheckpoint): WritableTorchValue {
  const parameters = transformerEntries(state.model).filter(({ isBuffer }) => !isBuffer)
  const stored = z.object({ training: trainingSchema }).safeParse(state.configuration)
  const { learningRate, betas, epsilon, weightDecay } = stored.success ? stored.data.training : REPA_ADAMW
  const states = new Map<number, WritableTorchValue>()
  if (state.updates > 0) {
    for (const [index, { name, parameter }] of parameters.entries()) {
      if (!parameter.trainable) continue
      states.set(index, {
        step: scalar(state.updates),
        exp_avg: tensors.firstMoments.get(name)!,
        exp_avg_sq: tensors.secondMoments.get(name)!,
      })
    }
  }
  const group = {
    lr: learningRate,
    betas,
    eps: epsilon,
    weight_decay: weightDecay,
    amsgrad: false,
    foreach: null,
    maximize: false,
    capturable: false,
    params: parameters.map((_, index) => index),
  }
  return {
    model: tensors.weights,
    ema: tensors.ema,
    opt: { state: states, param_groups: [group] },
    args: referenceArgumentsOf(state.configuration, state.model, state.seed),
    steps: state.step,
    ...(state.lossScaling && { [GRAD_SCALER_KEY]: gradScalerOf(state.lossScaling) }),
  }
}

function scalar(value: number): TensorSource {
  return { dtype: 'f32', shape: [], data: new Uint8Array(Float32Array.of(value).buffer) }
}
